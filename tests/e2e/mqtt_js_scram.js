// MQTT.js with SCRAM-SHA-256, its client half made of Node's own crypto.
'use strict';

const assert = require('node:assert');
const crypto = require('node:crypto');
const mqtt = require('mqtt');

const { PASSWORD, PLAIN_PORT } = process.env;
const METHOD = 'SCRAM-SHA-256';
const hmac = (key, text) => crypto.createHmac('sha256', key).update(text).digest();
const bare = `n=alice,r=${crypto.randomBytes(18).toString('base64')}`;
let expected;

function last(serverFirst) {
  const part = (name) => serverFirst.split(',').find((p) => p.startsWith(name)).slice(name.length);
  const salted = crypto.pbkdf2Sync(PASSWORD, Buffer.from(part('s='), 'base64'), Number(part('i=')), 32, 'sha256');
  const withoutProof = `c=biws,r=${part('r=')}`;
  const said = `${bare},${serverFirst},${withoutProof}`;
  const clientKey = hmac(salted, 'Client Key');
  const signature = hmac(crypto.createHash('sha256').update(clientKey).digest(), said);
  const proof = clientKey.map((byte, index) => byte ^ signature[index]);
  expected = `v=${hmac(hmac(salted, 'Server Key'), said).toString('base64')}`;
  return `${withoutProof},p=${proof.toString('base64')}`;
}

const client = mqtt.connect({
  host: '127.0.0.1', port: Number(PLAIN_PORT), protocol: 'mqtt', protocolVersion: 5, clientId: 'j-scram',
  reconnectPeriod: 0,
  properties: { authenticationMethod: METHOD, authenticationData: Buffer.from(`n,,${bare}`) },
});
client.handleAuth = (packet, answer) => {
  assert.strictEqual(packet.reasonCode, 0x18);
  const data = last(packet.properties.authenticationData.toString());
  answer(null, {
    cmd: 'auth', reasonCode: 0x18,
    properties: { authenticationMethod: METHOD, authenticationData: Buffer.from(data) },
  });
};
client.on('error', (error) => {
  console.error(error);
  process.exit(1);
});
client.on('connect', (connack) => {
  assert.strictEqual(connack.properties.authenticationData.toString(), expected);
  client.subscribe('demo/alice/answers/#', (error) => {
    assert.ifError(error);
    client.end(false, () => console.log('all is well'));
  });
});
