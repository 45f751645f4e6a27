"""paho-mqtt: what it does with the broker."""

import asyncio
import socket

import paho.mqtt.client as mqtt

import paho_properties
from paho_properties import VERSIONS, of_connect, of_publish, of_subscribe
from scenarios import FILES, PASSWORD, PORTS, Refused, run


class Client:
    """What the callbacks say goes into queues of the scenarios' loop."""

    def __init__(self, user, version, name, by, clean):
        options = {} if version == "5.0" else {"clean_session": clean}
        if by == "WS":
            options["transport"] = "websockets"
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name or user, protocol=VERSIONS[version], **options)
        self.version, self.names = version, {}
        self.messages, self.acks, self.connects, self.sent = (asyncio.Queue() for _ in range(4))
        loop = asyncio.get_running_loop()

        def put(queue, item):
            loop.call_soon_threadsafe(queue.put_nowait, item)

        self.client.on_message = lambda c, u, message: put(self.messages, message)
        self.client.on_subscribe = lambda c, u, mid, codes, properties: put(self.acks, codes)
        self.client.on_connect = lambda c, u, flags, code, properties: put(self.connects, (flags, code))
        self.client.on_publish = lambda c, u, mid, code, properties: put(self.sent, code)

    async def subscribe(self, topic_filter, qos, identifier=None):
        options = {"properties": of_subscribe(identifier)} if self.version == "5.0" else {}
        self.client.subscribe(topic_filter, qos, **options)
        return not (await self.acks.get())[0].is_failure

    async def publish(self, topic, payload, qos, retain=False, **properties):
        options = {"properties": of_publish(properties)} if self.version == "5.0" else {}
        self.client.publish(topic, payload, qos, retain, **options)
        await self.sent.get()

    async def message(self):
        message = paho_properties.received(await self.messages.get(), self.version)
        # The library hands the aliases on, and leaves the names to the program.
        alias = message.properties.get("alias")
        if alias and message.topic:
            self.names[alias] = message.topic
        message.topic = message.topic or self.names[alias]
        return message

    async def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    async def vanish(self):
        self.client.loop_stop()
        self.client.socket().shutdown(socket.SHUT_RDWR)


async def connect(user, version, by="PLAIN", name=None, clean=True, will=None, password=PASSWORD, aliases=0):
    made = Client(user, version, name, by, clean)
    made.client.username_pw_set(user, password)
    if will:
        made.client.will_set(*will, 1, False)
    if by == "TLS":
        made.client.tls_set(f"{FILES}/ca.crt")
    options = {"clean_start": clean, "properties": of_connect(clean, aliases)} if version == "5.0" else {}
    made.client.connect("localhost", PORTS[by], **options)
    made.client.loop_start()
    flags, code = await made.connects.get()
    if code.is_failure:
        made.client.loop_stop()
        raise Refused(code)
    made.present = flags.session_present
    return made


REMARKS = {"topic aliases from the broker": "the program has to remember the names"}
asyncio.run(run("paho-mqtt", connect, list(VERSIONS), {}, REMARKS))
