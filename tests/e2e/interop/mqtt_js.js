// MQTT.js: what it does with the broker.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const mqtt = require('mqtt');

const { FILES, PASSWORD, PLAIN_PORT, TLS_PORT, WS_PORT } = process.env;
const ca = fs.readFileSync(`${FILES}/ca.crt`);
const PLACES = { plain: `mqtt://localhost:${PLAIN_PORT}`, tls: `mqtts://localhost:${TLS_PORT}`, ws: `ws://localhost:${WS_PORT}/mqtt` };
const LEVELS = { '3.1': 3, '3.1.1': 4, '5.0': 5 };
const PATIENCE = 10000;
const ANSWERS = 'demo/alice/answers';
const REQUESTS = 'demo/alice/requests';

function inTime(promise) {
  let late;
  const tooLate = new Promise((resolve, reject) => {
    late = setTimeout(() => reject(new Error('nothing came')), PATIENCE);
  });
  return Promise.race([promise, tooLate]).finally(() => clearTimeout(late));
}

// A client that keeps what it receives until it is asked for.
class Client {
  constructor(user, version, { by = 'plain', ...more } = {}) {
    const options = {
      protocolVersion: LEVELS[version], clientId: user, username: user, password: PASSWORD, reconnectPeriod: 0, ca, ...more,
    };
    // 3.1 has a name of its own.
    if (version === '3.1') options.protocolId = 'MQIsdp';
    this.client = mqtt.connect(PLACES[by], options);
    this.received = [];
    this.waiting = [];
    this.client.on('message', (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), packet };
      const next = this.waiting.shift();
      if (next) next(message);
      else this.received.push(message);
    });
    this.connected = inTime(new Promise((resolve, reject) => {
      this.client.once('connect', resolve);
      this.client.once('error', reject);
    }));
  }

  static async connect(...how) {
    const made = new Client(...how);
    made.connack = await made.connected;
    return made;
  }

  subscribe(filter, options) {
    return inTime(this.client.subscribeAsync(filter, options));
  }

  publish(topic, payload, options) {
    return inTime(this.client.publishAsync(topic, payload, options));
  }

  message() {
    const kept = this.received.shift();
    return inTime(kept ? Promise.resolve(kept) : new Promise((resolve) => this.waiting.push(resolve)));
  }

  leave() {
    return this.client.endAsync();
  }
}

async function pair(version, more, scenario) {
  const alice = await Client.connect('alice', version, more);
  const inside = await Client.connect('inside', version, more);
  await scenario(alice, inside);
  await alice.leave();
  await inside.leave();
}

async function connects(version) {
  await (await Client.connect('alice', version)).leave();
}

async function wrongPassword(version) {
  await assert.rejects(Client.connect('alice', version, { password: 'wrong' }), /refused|Not authorized|Bad/i);
}

function exchange(qos, by = 'plain') {
  return (version) => pair(version, { by }, async (alice, inside) => {
    await alice.subscribe(`${ANSWERS}/+`, { qos });
    await inside.publish(`${ANSWERS}/1`, `qos ${qos}`, { qos });
    const { payload, packet } = await alice.message();
    assert.deepStrictEqual([payload, packet.qos], [`qos ${qos}`, qos]);
  });
}

function retained(version) {
  return pair(version, {}, async (alice, inside) => {
    await inside.publish(`${ANSWERS}/kept`, 'kept', { qos: 1, retain: true });
    await alice.subscribe(`${ANSWERS}/kept`, { qos: 1 });
    const { payload, packet } = await alice.message();
    assert.deepStrictEqual([payload, packet.retain], ['kept', true]);
    await inside.publish(`${ANSWERS}/kept`, '', { qos: 1, retain: true });
  });
}

async function will(version) {
  const inside = await Client.connect('inside', version);
  await inside.subscribe('demo/+/requests/will', { qos: 1 });
  const last = { topic: `${REQUESTS}/will`, payload: Buffer.from('gone'), qos: 1, retain: false };
  const dying = await Client.connect('alice', version, { will: last });
  dying.client.stream.destroy();
  assert.strictEqual((await inside.message()).payload, 'gone');
  await inside.leave();
}

async function persistent(version) {
  const keeping = { clientId: `kept-${version}`, clean: false };
  if (version === '5.0') keeping.properties = { sessionExpiryInterval: 3600 };
  const first = await Client.connect('alice', version, keeping);
  assert.strictEqual(Boolean(first.connack.sessionPresent), false);
  await first.subscribe(`${ANSWERS}/+`, { qos: 1 });
  await first.leave();
  const inside = await Client.connect('inside', version);
  await inside.publish(`${ANSWERS}/1`, 'while away', { qos: 1 });
  const again = await Client.connect('alice', version, keeping);
  // 3.1 has no such flag.
  assert.strictEqual(Boolean(again.connack.sessionPresent), version !== '3.1');
  assert.strictEqual((await again.message()).payload, 'while away');
  await again.leave();
  await inside.leave();
}

function shared(version) {
  return pair(version, {}, async (alice, inside) => {
    const other = await Client.connect('inside', version, { clientId: 'other' });
    const seen = [];
    const all = new Promise((resolve) => {
      for (const member of [inside, other]) {
        member.client.on('message', (_, payload) => {
          seen.push([Number(payload), member]);
          if (seen.length === 10) resolve();
        });
      }
    });
    for (const member of [inside, other]) await member.subscribe(`$share/workers/${REQUESTS}/+`, { qos: 1 });
    for (let number = 0; number < 10; number += 1) await alice.publish(`${REQUESTS}/1`, String(number), { qos: 1 });
    await inTime(all);
    assert.deepStrictEqual(seen.map(([number]) => number).sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.strictEqual(new Set(seen.map(([, member]) => member)).size, 2);
    await other.leave();
  });
}

async function guarded(version) {
  const alice = await Client.connect('alice', version);
  let granted = [];
  try {
    granted = await alice.subscribe('#');
  } catch (error) {
    granted = [{ qos: 128 }];
  }
  assert(granted.every(({ qos }) => qos >= 128), JSON.stringify(granted));
  await alice.leave();
}

function arrives(properties, check) {
  return (version) => pair(version, {}, async (alice, inside) => {
    await alice.subscribe(`${ANSWERS}/+`, { qos: 1 });
    await inside.publish(`${ANSWERS}/1`, 'x', { qos: 1, properties });
    check((await alice.message()).packet.properties);
  });
}

function respond(version) {
  return pair(version, {}, async (alice, inside) => {
    await inside.subscribe('demo/+/requests/+', { qos: 1 });
    await alice.subscribe(`${ANSWERS}/+`, { qos: 1 });
    const correlationData = Buffer.from([0, 255]);
    await alice.publish(`${REQUESTS}/1`, 'ask', { qos: 1, properties: { responseTopic: `${ANSWERS}/mine`, correlationData } });
    const asked = (await inside.message()).packet.properties;
    await inside.publish(asked.responseTopic, 'answer', { qos: 1, properties: { correlationData: asked.correlationData } });
    const answer = await alice.message();
    assert.strictEqual(answer.topic, `${ANSWERS}/mine`);
    assert.deepStrictEqual(answer.packet.properties.correlationData, correlationData);
  });
}

function identifiers(version) {
  return pair(version, {}, async (alice, inside) => {
    for (const [subscriptionIdentifier, last] of [[7, '+'], [8, '1']]) {
      await alice.subscribe(`${ANSWERS}/${last}`, { qos: 1, properties: { subscriptionIdentifier } });
    }
    await inside.publish(`${ANSWERS}/1`, 'x', { qos: 1 });
    // The broker is configured, as mosquitto is, to send a copy for each subscription.
    const copies = [await alice.message(), await alice.message()];
    assert.deepStrictEqual(copies.map(({ packet }) => packet.properties.subscriptionIdentifier).sort(), [7, 8]);
  });
}

// The library gives and takes back the aliases itself.
function aliasesOut(version) {
  return pair(version, { autoAssignTopicAlias: true }, async (alice, inside) => {
    await alice.subscribe(`${ANSWERS}/+`, { qos: 1 });
    const sent = [];
    inside.client.on('packetsend', (packet) => {
      if (packet.cmd === 'publish') sent.push([packet.topic, packet.properties.topicAlias]);
    });
    for (const number of ['0', '1', '2']) {
      await inside.publish(`${ANSWERS}/1`, number, { qos: 1 });
      const { topic, payload } = await alice.message();
      assert.deepStrictEqual([topic, payload], [`${ANSWERS}/1`, number]);
    }
    assert.deepStrictEqual(sent, [[`${ANSWERS}/1`, 1], ['', 1], ['', 1]]);
  });
}

function aliasesIn(version) {
  return pair(version, { properties: { topicAliasMaximum: 5 } }, async (alice, inside) => {
    await alice.subscribe(`${ANSWERS}/+`, { qos: 1 });
    const aliases = new Set();
    for (let number = 0; number < 10; number += 1) {
      await inside.publish(`${ANSWERS}/1`, String(number), { qos: 1 });
      const { topic, payload, packet } = await alice.message();
      assert.deepStrictEqual([topic, payload], [`${ANSWERS}/1`, String(number)]);
      aliases.add(packet.properties?.topicAlias);
    }
    aliases.delete(undefined);
    assert.deepStrictEqual([...aliases], [1]);
  });
}

const ALL = ['3.1', '3.1.1', '5.0'];
const LATER = ['3.1.1', '5.0'];
const FEATURES = {
  'connect 3.1': [connects, ['3.1']],
  'connect 3.1.1': [connects, ['3.1.1']],
  'connect 5.0': [connects, ['5.0']],
  'wrong password is refused': [wrongPassword, ALL],
  'QoS 0': [exchange(0), ALL],
  'QoS 1': [exchange(1), ALL],
  'QoS 2': [exchange(2), ALL],
  retained: [retained, ALL],
  will: [will, ALL],
  'persistent session': [persistent, ALL],
  'shared subscription': [shared, LATER],
  '# is refused': [guarded, LATER],
  TLS: [exchange(1, 'tls'), ALL],
  WebSocket: [exchange(1, 'ws'), ALL],
  'user properties': [arrives({ userProperties: { a: ['1', '2'] } }, ({ userProperties }) => {
    assert.deepStrictEqual({ ...userProperties }, { a: ['1', '2'] });
  }), ['5.0']],
  'message expiry': [arrives({ messageExpiryInterval: 100 }, ({ messageExpiryInterval }) => {
    assert(messageExpiryInterval > 0 && messageExpiryInterval <= 100, String(messageExpiryInterval));
  }), ['5.0']],
  'request and response': [respond, ['5.0']],
  'subscription identifiers': [identifiers, ['5.0']],
  'topic aliases to the broker': [aliasesOut, ['5.0']],
  'topic aliases from the broker': [aliasesIn, ['5.0']],
};

async function main() {
  console.log(`version: ${require('mqtt/package.json').version}`);
  for (const [feature, [attempt, versions]] of Object.entries(FEATURES)) {
    let cell = 'yes';
    for (const version of versions) {
      try {
        await attempt(version);
      } catch (error) {
        cell = `no (${String(error).replace(/\s+/g, ' ')}, in ${version})`;
        break;
      }
    }
    console.log(`${feature}: ${cell}`);
  }
  // What a failed attempt left open must not keep the program.
  process.exit(0);
}

main();
