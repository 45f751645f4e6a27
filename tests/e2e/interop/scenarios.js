// What every driver in JavaScript tries. A driver brings its library in this shape:
//
// `connect(user, version, { by, name, keep, will, password, aliases })` gives a connected client or
// rejects with `Refused`; `aliases` is the Topic Alias Maximum. The client has `present` (undefined if
// the library does not tell) and, all of them promises, `subscribe(filter, qos, identifier)`, true if it
// was granted, `publish(topic, payload, qos, retain, properties)`, done when it is acknowledged,
// `message()`, `leave()` and `vanish()`, which is an end without DISCONNECT. Properties are `user`
// (an object), `expiry`, `response`, `correlation`, `alias`, and `identifier` of what is received.
'use strict';

const assert = require('node:assert');

const PATIENCE = 10000;
const ANSWERS = 'demo/alice/answers';
const REQUESTS = 'demo/alice/requests';

class Refused extends Error {}

// Messages, kept until they are asked for.
class Mailbox {
  constructor() {
    this.received = [];
    this.waiting = [];
  }

  put(message) {
    const next = this.waiting.shift();
    if (next) next(message);
    else this.received.push(message);
  }

  take() {
    const kept = this.received.shift();
    return kept ? Promise.resolve(kept) : new Promise((resolve) => { this.waiting.push(resolve); });
  }
}

function inTime(promise) {
  let late;
  const tooLate = new Promise((resolve, reject) => {
    late = setTimeout(() => reject(new Error('nothing came')), PATIENCE);
  });
  return Promise.race([promise, tooLate]).finally(() => clearTimeout(late));
}

function scenarios(connect) {
  async function pair(version, how, scenario) {
    const alice = await connect('alice', version, how);
    const inside = await connect('inside', version, { by: how.by });
    await scenario(alice, inside);
    await alice.leave();
    await inside.leave();
  }

  const connects = async (version) => (await connect('alice', version, {})).leave();

  const wrongPassword = (version) => assert.rejects(connect('alice', version, { password: 'wrong' }), Refused);

  const exchange = (qos, by) => (version) => pair(version, { by }, async (alice, inside) => {
    assert(await alice.subscribe(`${ANSWERS}/+`, qos));
    await inside.publish(`${ANSWERS}/1`, `qos ${qos}`, qos);
    const message = await alice.message();
    assert.deepStrictEqual([message.payload, message.qos], [`qos ${qos}`, qos]);
  });

  const retained = (version) => pair(version, {}, async (alice, inside) => {
    await inside.publish(`${ANSWERS}/kept`, 'kept', 1, true);
    await alice.subscribe(`${ANSWERS}/kept`, 1);
    const message = await alice.message();
    assert.deepStrictEqual([message.payload, message.retain], ['kept', true]);
    await inside.publish(`${ANSWERS}/kept`, '', 1, true);
  });

  async function will(version) {
    const inside = await connect('inside', version, {});
    await inside.subscribe('demo/+/requests/will', 1);
    const dying = await connect('alice', version, { will: { topic: `${REQUESTS}/will`, payload: 'gone' } });
    await dying.vanish();
    assert.strictEqual((await inside.message()).payload, 'gone');
    await inside.leave();
  }

  async function persistent(version) {
    const keeping = { name: `kept-${version}`, keep: true };
    const first = await connect('alice', version, keeping);
    assert(!first.present);
    await first.subscribe(`${ANSWERS}/+`, 1);
    await first.leave();
    const inside = await connect('inside', version, {});
    await inside.publish(`${ANSWERS}/1`, 'while away', 1);
    const again = await connect('alice', version, keeping);
    // 3.1 has no such flag.
    assert([undefined, version !== '3.1'].includes(again.present), String(again.present));
    assert.strictEqual((await again.message()).payload, 'while away');
    await again.leave();
    await inside.leave();
  }

  const shared = (version) => pair(version, {}, async (alice, inside) => {
    const members = [inside, await connect('inside', version, { name: 'other' })];
    for (const member of members) assert(await member.subscribe(`$share/workers/${REQUESTS}/+`, 1));
    const seen = [];
    const working = members.map(async (member, index) => {
      while (seen.length < 10) seen.push([(await member.message()).payload, index]);
    });
    for (let number = 0; number < 10; number += 1) await alice.publish(`${REQUESTS}/1`, String(number), 1);
    await Promise.race(working);
    assert.deepStrictEqual(seen.map(([number]) => Number(number)).sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.strictEqual(new Set(seen.map(([, index]) => index)).size, 2);
    await members[1].leave();
  });

  async function guarded(version) {
    const alice = await connect('alice', version, {});
    assert.strictEqual(await alice.subscribe('#', 0), false);
    await alice.leave();
  }

  const arrives = (properties, check) => (version) => pair(version, {}, async (alice, inside) => {
    await alice.subscribe(`${ANSWERS}/+`, 1);
    await inside.publish(`${ANSWERS}/1`, 'x', 1, false, properties);
    check((await alice.message()).properties);
  });

  const user = arrives({ user: { a: ['1', '2'] } }, (found) => {
    assert.deepStrictEqual({ ...found.user }, { a: ['1', '2'] });
  });

  const expiry = arrives({ expiry: 100 }, (found) => {
    assert(found.expiry > 0 && found.expiry <= 100, String(found.expiry));
  });

  const respond = (version) => pair(version, {}, async (alice, inside) => {
    await inside.subscribe('demo/+/requests/+', 1);
    await alice.subscribe(`${ANSWERS}/+`, 1);
    const correlation = Buffer.from([0, 255]);
    await alice.publish(`${REQUESTS}/1`, 'ask', 1, false, { response: `${ANSWERS}/mine`, correlation });
    const asked = (await inside.message()).properties;
    await inside.publish(asked.response, 'answer', 1, false, { correlation: asked.correlation });
    const answer = await alice.message();
    assert.strictEqual(answer.topic, `${ANSWERS}/mine`);
    assert.deepStrictEqual(answer.properties.correlation, correlation);
  });

  const identifiers = (version) => pair(version, {}, async (alice, inside) => {
    for (const [identifier, last] of [[7, '+'], [8, '1']]) await alice.subscribe(`${ANSWERS}/${last}`, 1, identifier);
    await inside.publish(`${ANSWERS}/1`, 'x', 1);
    // The broker is configured, as mosquitto is, to send a copy for each subscription.
    const copies = [await alice.message(), await alice.message()];
    assert.deepStrictEqual(copies.map(({ properties }) => properties.identifier).sort(), [7, 8]);
  });

  const aliasesOut = (version) => pair(version, {}, async (alice, inside) => {
    await alice.subscribe(`${ANSWERS}/+`, 1);
    for (const [number, name] of [`${ANSWERS}/1`, '', ''].entries()) {
      await inside.publish(name, String(number), 1, false, { alias: 1 });
      const { topic, payload } = await alice.message();
      assert.deepStrictEqual([topic, payload], [`${ANSWERS}/1`, String(number)]);
    }
  });

  const aliasesIn = (version) => pair(version, { aliases: 5 }, async (alice, inside) => {
    await alice.subscribe(`${ANSWERS}/+`, 1);
    const aliases = new Set();
    for (let number = 0; number < 10; number += 1) {
      await inside.publish(`${ANSWERS}/1`, String(number), 1);
      const { topic, payload, properties } = await alice.message();
      assert.deepStrictEqual([topic, payload], [`${ANSWERS}/1`, String(number)]);
      aliases.add(properties.alias);
    }
    aliases.delete(undefined);
    assert.deepStrictEqual([...aliases], [1]);
  });

  const all = ['3.1', '3.1.1', '5.0'];
  const later = ['3.1.1', '5.0'];
  return {
    'connect 3.1': [connects, ['3.1']],
    'connect 3.1.1': [connects, ['3.1.1']],
    'connect 5.0': [connects, ['5.0']],
    'wrong password is refused': [wrongPassword, all],
    'QoS 0': [exchange(0), all],
    'QoS 1': [exchange(1), all],
    'QoS 2': [exchange(2), all],
    retained: [retained, all],
    will: [will, all],
    'persistent session': [persistent, all],
    'shared subscription': [shared, later],
    // 3.1 has no code for a refusal.
    '# is refused': [guarded, later],
    TLS: [exchange(1, 'TLS'), all],
    WebSocket: [exchange(1, 'WS'), all],
    'user properties': [user, ['5.0']],
    'message expiry': [expiry, ['5.0']],
    'request and response': [respond, ['5.0']],
    'subscription identifiers': [identifiers, ['5.0']],
    'topic aliases to the broker': [aliasesOut, ['5.0']],
    'topic aliases from the broker': [aliasesIn, ['5.0']],
  };
}

// Tries everything in the versions the library speaks, but for what it `cannot`.
async function run(libraryVersion, connect, versions, cannot) {
  console.log(`version: ${libraryVersion}`);
  for (const [feature, [attempt, known]] of Object.entries(scenarios(connect))) {
    let cell = feature in cannot ? `cannot (${cannot[feature]})` : 'yes';
    for (const version of cell === 'yes' ? known.filter((one) => versions.includes(one)) : []) {
      try {
        await inTime(attempt(version));
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

module.exports = { Mailbox, Refused, run };
