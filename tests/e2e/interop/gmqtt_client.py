"""gmqtt: what it does with the broker."""

import asyncio
import ssl

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.storage import PersistentStorage

from scenarios import FILES, PASSWORD, PORTS, Message, Refused, run

VERSIONS = {"3.1.1": MQTTv311, "5.0": MQTTv50}
NAMES = {
    "user": "user_property",
    "expiry": "message_expiry_interval",
    "response": "response_topic",
    "correlation": "correlation_data",
    "alias": "topic_alias",
    "identifiers": "subscription_identifier",
}
LISTS = ("user", "identifiers")


class Client:
    def __init__(self, name, version, clean, will, options):
        # Told of every acknowledgement, which the library tells nobody else.
        self.unacknowledged = PersistentStorage()
        self.client = gmqtt.Client(
            name, clean_session=clean, will_message=will, persistent_storage=self.unacknowledged, **options
        )
        self.client.set_config({"reconnect_retries": 0})
        self.version, self.present = version, None
        self.messages, self.acks = asyncio.Queue(), asyncio.Queue()
        self.client.on_message = self.on_message
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = lambda client, mid, codes, properties: self.acks.put_nowait(codes)

    def on_connect(self, _client, flags, _code, _properties):
        self.present = bool(flags)

    def on_message(self, _client, topic, payload, qos, properties):
        found = {}
        for name, key in NAMES.items():
            if key in properties:
                found[name] = properties[key] if name in LISTS else properties[key][0]
        self.messages.put_nowait(Message(topic, payload, qos, bool(properties["retain"]), found))
        return 0

    async def subscribe(self, topic_filter, qos, identifier=None):
        options = {"subscription_identifier": identifier} if identifier else {}
        self.client.subscribe(topic_filter, qos, **options)
        return (await self.acks.get())[0] < 0x80

    async def publish(self, topic, payload, qos, retain=False, **properties):
        options = {NAMES[name]: value for name, value in properties.items()}
        self.client.publish(topic, payload, qos, retain, **options)
        await self.unacknowledged.wait_empty()

    async def message(self):
        return await self.messages.get()

    async def leave(self):
        await self.client.disconnect()

    async def vanish(self):
        # The library itself never goes without a word.
        self.client._connection._transport.abort()


async def connect(user, version, by="PLAIN", name=None, clean=True, will=None, password=PASSWORD, aliases=0):
    options = {}
    if version == "5.0" and not clean:
        options["session_expiry_interval"] = 3600
    if aliases:
        options["topic_alias_maximum"] = aliases
    will = gmqtt.Message(*will, qos=1) if will else None
    made = Client(name or user, version, clean, will, options)
    made.client.set_auth_credentials(user, password)
    context = ssl.create_default_context(cafile=f"{FILES}/ca.crt") if by == "TLS" else False
    try:
        await made.client.connect("localhost", PORTS[by], ssl=context, version=VERSIONS[version])
    except gmqtt.mqtt.handler.MQTTConnectError as error:
        raise Refused(error) from error
    return made


CANNOT = {
    "connect 3.1": "it speaks 3.1.1 and 5.0",
    "WebSocket": "TCP and TLS only",
}
asyncio.run(run("gmqtt", connect, list(VERSIONS), CANNOT, {}))
