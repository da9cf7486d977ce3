"""Uses a ZiGate as ZHA does, through zigpy-zigate, and prints what it finds.

zha.py PORT           looks once
zha.py PORT restart   looks, waits until the connection ends, connects again and looks again
"""

import asyncio
import logging
import sys

import zigpy.config as config
import zigpy.types
import zigpy_zigate.api
from zigpy_zigate.zigbee.application import ControllerApplication


async def no_network_key(self):
    raise zigpy_zigate.api.CommandNotSupportedError  # which the simulated firmware does not tell


zigpy_zigate.api.ZiGate.get_network_key = no_network_key


async def look(app):
    await app.load_network_info(load_devices=True)
    network = app.state.network_info
    print("version", app.version)
    print("network", app.state.node_info.ieee, network.pan_id, network.channel)
    devices = await app._api.get_devices_list()
    print("devices", [(hex(d.short_addr), str(d.ieee_addr), d.power_source) for d in devices])
    print("permit join", (await app._api.permit_join(20))[0][0])
    first = devices[0]
    app.devices.clear()
    device = app.add_device(ieee=zigpy.types.EUI64(first.ieee_addr), nwk=first.short_addr)
    device.schedule_initialize()
    for _ in range(100):
        if device.model:
            break
        await asyncio.sleep(0.1)
    print("device", device.manufacturer, device.model, sorted(device.endpoints))
    endpoint = device.endpoints[1]
    print("clusters", sorted(endpoint.in_clusters), sorted(endpoint.out_clusters))
    print("basic", await endpoint.in_clusters[0].read_attributes([4, 5]))
    print("switch", await endpoint.in_clusters[6].on(), flush=True)


async def main(port, restart):
    ended = asyncio.Event()
    app = ControllerApplication({
        config.CONF_DATABASE: None,
        config.CONF_DEVICE: {config.CONF_DEVICE_PATH: port, config.CONF_DEVICE_BAUDRATE: 115200},
        config.CONF_OTA: {config.CONF_OTA_ENABLED: False},
    })
    app.connection_lost = lambda exc: ended.set()
    await app.connect()
    await look(app)
    if restart:
        print("connected", flush=True)
        await asyncio.wait_for(ended.wait(), 60)
        app._api = None
        for _ in range(120):
            try:
                await app.connect()
                break
            except Exception:
                await asyncio.sleep(0.5)
        await look(app)
    await app.disconnect()


logging.basicConfig(level=logging.CRITICAL)
asyncio.run(main(sys.argv[1], "restart" in sys.argv))
