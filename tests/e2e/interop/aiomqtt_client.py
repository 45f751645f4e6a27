"""aiomqtt: what it does with the broker."""

import asyncio
import socket
import ssl

import aiomqtt

import paho_properties
from paho_properties import VERSIONS, of_connect, of_publish, of_subscribe
from scenarios import FILES, PASSWORD, PORTS, Refused, run

PROTOCOLS = {
    "3.1": aiomqtt.ProtocolVersion.V31,
    "3.1.1": aiomqtt.ProtocolVersion.V311,
    "5.0": aiomqtt.ProtocolVersion.V5,
}


class Client:
    def __init__(self, client, version):
        self.client, self.version, self.present = client, version, None

    async def subscribe(self, topic_filter, qos, identifier=None):
        options = {"properties": of_subscribe(identifier)} if self.version == "5.0" else {}
        granted = (await self.client.subscribe(topic_filter, qos, **options))[0]
        return not granted.is_failure if hasattr(granted, "is_failure") else granted < 0x80

    async def publish(self, topic, payload, qos, retain=False, **properties):
        options = {"properties": of_publish(properties)} if self.version == "5.0" else {}
        await self.client.publish(topic, payload, qos, retain, **options)

    async def message(self):
        return paho_properties.received(await anext(aiter(self.client.messages)), self.version)

    async def leave(self):
        await self.client.__aexit__(None, None, None)

    async def vanish(self):
        # The library itself never goes without a word.
        self.client._client.socket().shutdown(socket.SHUT_RDWR)


async def connect(user, version, by="PLAIN", name=None, clean=True, will=None, password=PASSWORD, aliases=0):
    options = {"clean_session": clean}
    if version == "5.0":
        options = {"clean_start": clean, "properties": of_connect(clean, aliases)}
    if will:
        options["will"] = aiomqtt.Will(*will, 1)
    if by == "TLS":
        options["tls_context"] = ssl.create_default_context(cafile=f"{FILES}/ca.crt")
    if by == "WS":
        options["transport"] = "websockets"
    client = aiomqtt.Client(
        "localhost", PORTS[by], username=user, password=password, identifier=name or user,
        protocol=PROTOCOLS[version], **options,
    )
    try:
        await client.__aenter__()
    except aiomqtt.MqttError as error:
        raise Refused(error) from error
    return Client(client, version)


CANNOT = {"topic aliases from the broker": "it ends the connection at a message whose Topic Name is empty"}
asyncio.run(run("aiomqtt", connect, list(VERSIONS), CANNOT, {}))
