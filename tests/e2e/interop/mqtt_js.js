// MQTT.js: what it does with the broker.
'use strict';

const fs = require('node:fs');
const mqtt = require('mqtt');
const { Mailbox, Refused, run } = require('./scenarios.js');

const { FILES, PASSWORD, PLAIN_PORT, TLS_PORT, WS_PORT } = process.env;
const ca = fs.readFileSync(`${FILES}/ca.crt`);
const PLACES = {
  PLAIN: `mqtt://localhost:${PLAIN_PORT}`, TLS: `mqtts://localhost:${TLS_PORT}`, WS: `ws://localhost:${WS_PORT}/mqtt`,
};
const LEVELS = { '3.1': 3, '3.1.1': 4, '5.0': 5 };

function received(topic, payload, packet) {
  const from = packet.properties || {};
  const properties = {
    user: from.userProperties,
    expiry: from.messageExpiryInterval,
    response: from.responseTopic,
    correlation: from.correlationData,
    alias: from.topicAlias,
    identifier: from.subscriptionIdentifier,
  };
  return { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain, properties };
}

function sent({ user, expiry, response, correlation, alias }) {
  const all = {
    userProperties: user, messageExpiryInterval: expiry, responseTopic: response, correlationData: correlation, topicAlias: alias,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

class Client {
  constructor(client) {
    this.client = client;
    this.mailbox = new Mailbox();
    client.on('message', (...message) => this.mailbox.put(received(...message)));
  }

  async subscribe(filter, qos, subscriptionIdentifier) {
    const properties = subscriptionIdentifier ? { properties: { subscriptionIdentifier } } : {};
    try {
      const granted = await this.client.subscribeAsync(filter, { qos, ...properties });
      return granted.every((grant) => grant.qos < 0x80);
    } catch (error) {
      // The library makes an error of a refusal, and puts what the code means into words.
      if (/unspecified|not authorized/i.test(error.message)) return false;
      throw error;
    }
  }

  publish(topic, payload, qos, retain = false, properties = {}) {
    return this.client.publishAsync(topic, payload, { qos, retain, properties: sent(properties) });
  }

  message() {
    return this.mailbox.take();
  }

  leave() {
    return this.client.endAsync();
  }

  async vanish() {
    this.client.stream.destroy();
  }
}

function connect(user, version, { by = 'PLAIN', name = user, keep = false, will, password = PASSWORD, aliases }) {
  const options = {
    protocolVersion: LEVELS[version], clientId: name, username: user, password, clean: !keep, reconnectPeriod: 0, ca,
  };
  // 3.1 has a name of its own.
  if (version === '3.1') options.protocolId = 'MQIsdp';
  if (version === '5.0') options.properties = { ...(keep && { sessionExpiryInterval: 3600 }), ...(aliases && { topicAliasMaximum: aliases }) };
  if (will) options.will = { topic: will.topic, payload: Buffer.from(will.payload), qos: 1, retain: false };
  const made = new Client(mqtt.connect(PLACES[by], options));
  return new Promise((resolve, reject) => {
    made.client.once('connect', (connack) => {
      made.present = Boolean(connack.sessionPresent);
      resolve(made);
    });
    made.client.once('error', (error) => reject(error.code in { 4: 0, 5: 0, 134: 0, 135: 0 } ? new Refused(error) : error));
  });
}

run(require('mqtt/package.json').version, connect, Object.keys(LEVELS), {});
