"""Properties as paho-mqtt has them, which aiomqtt shares."""

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from scenarios import Message

VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5.0": mqtt.MQTTv5}
NAMES = {
    "user": "UserProperty",
    "expiry": "MessageExpiryInterval",
    "response": "ResponseTopic",
    "correlation": "CorrelationData",
    "alias": "TopicAlias",
    "identifiers": "SubscriptionIdentifier",
}


def of_connect(clean, aliases):
    properties = Properties(PacketTypes.CONNECT)
    if not clean:
        properties.SessionExpiryInterval = 3600
    if aliases:
        properties.TopicAliasMaximum = aliases
    return properties


def of_subscribe(identifier):
    properties = Properties(PacketTypes.SUBSCRIBE)
    if identifier:
        properties.SubscriptionIdentifier = identifier
    return properties


def of_publish(values):
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        setattr(properties, NAMES[name], value)
    return properties


def received(message, version):
    """A message of the library as the scenarios want it."""
    properties = {}
    if version == "5.0":
        for name, attribute in NAMES.items():
            if hasattr(message.properties, attribute):
                properties[name] = getattr(message.properties, attribute)
    return Message(str(message.topic), message.payload, message.qos, message.retain, properties)
