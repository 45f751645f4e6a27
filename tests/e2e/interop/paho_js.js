// paho's library for browsers: what it does with the broker, over WebSockets as ever.
'use strict';

// What a browser has.
global.WebSocket = require('ws');

const paho = require('paho-mqtt');
const { Mailbox, Refused, run } = require('./scenarios.js');

const { PASSWORD, WS_PORT } = process.env;
const LEVELS = { '3.1': 3, '3.1.1': 4 };

class Client {
  constructor(name) {
    this.client = new paho.Client('localhost', Number(WS_PORT), '/mqtt', name);
    this.mailbox = new Mailbox();
    this.client.onMessageArrived = ({ destinationName, payloadString, qos, retained }) => {
      this.mailbox.put({ topic: destinationName, payload: payloadString, qos, retain: retained, properties: {} });
    };
  }

  subscribe(filter, qos) {
    return new Promise((resolve) => {
      this.client.subscribe(filter, { qos, onSuccess: () => resolve(true), onFailure: ({ errorCode }) => resolve(errorCode[0] !== 0x80) });
    });
  }

  publish(topic, payload, qos, retain = false) {
    return new Promise((resolve) => {
      this.client.onMessageDelivered = resolve;
      this.client.send(topic, payload, qos, retain);
    });
  }

  message() {
    return this.mailbox.take();
  }

  async leave() {
    this.client.disconnect();
  }

  // The library itself never goes without a word; a browser's tab does.
  async vanish() {
    this.socket.terminate();
  }
}

function connect(user, version, { name = user, keep = false, will, password = PASSWORD }) {
  const made = new Client(name);
  const options = {
    userName: user, password, cleanSession: !keep, mqttVersion: LEVELS[version], mqttVersionExplicit: true, timeout: 10,
  };
  if (will) {
    options.willMessage = new paho.Message(will.payload);
    options.willMessage.destinationName = will.topic;
    options.willMessage.qos = 1;
  }
  const Plain = global.WebSocket;
  return new Promise((resolve, reject) => {
    options.onSuccess = () => resolve(made);
    options.onFailure = ({ errorCode, errorMessage }) => {
      reject(errorCode === 6 ? new Refused(errorMessage) : new Error(errorMessage));
    };
    // Its socket is nowhere to be had but here.
    global.WebSocket = function remembered(...how) {
      made.socket = new Plain(...how);
      return made.socket;
    };
    made.client.connect(options);
    global.WebSocket = Plain;
  });
}

const LATER = 'it speaks 3.1 and 3.1.1';
run(require('paho-mqtt/package.json').version, connect, Object.keys(LEVELS), {
  'connect 5.0': LATER,
  TLS: "not tried: it is the browser's",
  'user properties': LATER,
  'message expiry': LATER,
  'request and response': LATER,
  'subscription identifiers': LATER,
  'topic aliases to the broker': LATER,
  'topic aliases from the broker': LATER,
});
