// MQTT.js against the broker: what a program in Node does, in 3.1.1 and 5.0.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const mqtt = require('mqtt');

const { FILES, PASSWORD, PLAIN_PORT, TLS_PORT } = process.env;
const ca = fs.readFileSync(`${FILES}/ca.crt`);

function connect(name, username, protocolVersion, more = {}) {
  const tls = more.plain ? {} : { ca };
  const port = Number(more.plain ? PLAIN_PORT : TLS_PORT);
  const protocol = more.plain ? 'mqtt' : 'mqtts';
  return mqtt.connectAsync({
    host: 'localhost', port, protocol, protocolVersion, clientId: name, username, password: PASSWORD,
    reconnectPeriod: 0, ...tls, ...more,
  });
}

// The next message; asked for before what causes it.
function next(client) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('no message')), 20000);
    client.once('message', (topic, payload, packet) => {
      clearTimeout(late);
      resolve({ topic, payload: payload.toString(), packet });
    });
  });
}

async function refused(promise) {
  try {
    const granted = await promise;
    return granted.every((grant) => grant.qos >= 0x80);
  } catch (error) {
    return true;
  }
}

async function version(protocolVersion) {
  for (const plain of [true, false]) {
    const inside = await connect('j-inside', 'inside', protocolVersion, { plain });
    const alice = await connect('j-alice', 'alice', protocolVersion, { plain });
    await alice.subscribeAsync('demo/alice/answers/#', { qos: 2 });
    assert(await refused(alice.subscribeAsync('#')), '# is refused');
    console.log(`${protocolVersion}: # is refused`);
    for (const qos of [0, 1, 2]) {
      const arriving = next(alice);
      await inside.publishAsync(`demo/alice/answers/${qos}`, `qos ${qos}`, { qos });
      const { payload, packet } = await arriving;
      assert.deepStrictEqual([payload, packet.qos], [`qos ${qos}`, qos]);
      console.log(`${protocolVersion}: QoS ${qos}`);
    }
    await inside.publishAsync('demo/alice/answers/kept', 'kept', { qos: 1, retain: true });
    const later = await connect('j-later', 'alice', protocolVersion, { plain });
    const retained = next(later);
    await later.subscribeAsync('demo/alice/answers/kept');
    assert.strictEqual((await retained).packet.retain, true);
    await inside.publishAsync('demo/alice/answers/kept', '', { qos: 1, retain: true });
    console.log(`${protocolVersion}: retained`);
    await Promise.all([inside, alice, later].map((client) => client.endAsync()));
  }

  const keeping = { clean: false, properties: { sessionExpiryInterval: 3600 } };
  const kept = await connect(`j-kept-${protocolVersion}`, 'alice', protocolVersion, keeping);
  await kept.subscribeAsync('demo/alice/answers/#', { qos: 1 });
  await kept.endAsync();
  const inside = await connect('j-inside', 'inside', protocolVersion);
  await inside.publishAsync('demo/alice/answers/1', 'while away', { qos: 1 });
  const returning = mqtt.connect({
    host: 'localhost', port: Number(TLS_PORT), protocol: 'mqtts', protocolVersion, clientId: `j-kept-${protocolVersion}`,
    username: 'alice', password: PASSWORD, reconnectPeriod: 0, ca, ...keeping,
  });
  assert.strictEqual((await next(returning)).payload, 'while away');
  console.log(`${protocolVersion}: queued`);

  await inside.subscribeAsync('demo/+/requests/will', { qos: 1 });
  const will = { topic: 'demo/alice/requests/will', payload: Buffer.from('gone'), qos: 1, retain: false };
  const dying = await connect('j-dying', 'alice', protocolVersion, { will });
  const told = next(inside);
  dying.stream.destroy();
  assert.strictEqual((await told).payload, 'gone');
  console.log(`${protocolVersion}: will`);
  await Promise.all([inside, returning].map((client) => client.endAsync()));
}

async function main() {
  await version(4);
  await version(5);
  const certificate = {
    cert: fs.readFileSync(`${FILES}/alice.crt`), key: fs.readFileSync(`${FILES}/alice.key`),
  };
  const shown = await connect('j-cert', 'alice', 5, certificate);
  await shown.endAsync();
  console.log('all is well');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
