// MQTT.js as a browser uses it: ws and wss, in 3.1.1 and 5.0, with a message of many frames' size.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const mqtt = require('mqtt');

const { FILES, PASSWORD, PLAIN_PORT, TLS_PORT } = process.env;
const ca = fs.readFileSync(`${FILES}/ca.crt`);

async function exchange(url, protocolVersion) {
  const connect = (username) => mqtt.connectAsync(url, {
    protocolVersion, clientId: `ws-${username}`, username, password: PASSWORD, reconnectPeriod: 0, ca,
  });
  const alice = await connect('alice');
  const inside = await connect('inside');
  await alice.subscribeAsync('demo/alice/answers/#', { qos: 2 });
  for (const [qos, payload] of [[0, 'small'], [1, 'x'.repeat(300000)], [2, 'once']]) {
    const arriving = new Promise((resolve) => alice.once('message', (_, body) => resolve(body)));
    await inside.publishAsync(`demo/alice/answers/${qos}`, payload, { qos });
    assert.strictEqual((await arriving).toString(), payload);
  }
  await Promise.all([alice.endAsync(), inside.endAsync()]);
  console.log(`${url} ${protocolVersion}`);
}

async function main() {
  for (const version of [4, 5]) {
    await exchange(`ws://localhost:${PLAIN_PORT}/mqtt`, version);
    await exchange(`wss://localhost:${TLS_PORT}/mqtt`, version);
  }
  console.log('all is well');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
