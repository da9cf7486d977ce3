// Uses a ZiGate as Zigbee2MQTT does, through zigbee-herdsman, and prints what it finds.
//
// node zigbee2mqtt.js PORT           looks once
// node zigbee2mqtt.js PORT restart   looks, waits until the connection ends, connects again and looks again
const herdsman = require('zigbee-herdsman');
const {ZiGateAdapter} = require('zigbee-herdsman/dist/adapter/zigate/adapter');
const Zcl = require('zigbee-herdsman/dist/zspec/zcl');
const Zdo = require('zigbee-herdsman/dist/zspec/zdo');

const silent = () => {};
herdsman.setLogger({debug: silent, info: silent, warning: silent, error: silent});
const [path, restart] = process.argv.slice(2);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const notSimulated = [0x0020, 0x0022, 0x0060]; // extended PAN id, network key, groups

const connect = async () => {
    const network = {channelList: [15], panID: 0x1234, extendedPanID: [1, 2, 3, 4, 5, 6, 7, 8], networkKey: []};
    const adapter = new ZiGateAdapter(network, {path, adapter: 'zigate', baudRate: 115200}, '', {});
    const send = adapter.driver.sendCommand.bind(adapter.driver);
    adapter.driver.sendCommand = async (code, ...rest) => {
        const sent = send(code, ...rest);
        return notSimulated.includes(code) ? sent.catch(() => undefined) : sent;
    };
    let ended;
    adapter.ended = new Promise((resolve) => { ended = resolve; });
    adapter.on('disconnected', ended);
    console.log('start', await adapter.start());
    return adapter;
};

const look = async (adapter) => {
    const ieee = '0x000b57fffec6a5b2', address = 0x4f4f;
    const ask = async (cluster, ...fields) => {
        const request = Zdo.Buffalo.buildRequest(adapter.hasZdoMessageOverhead, cluster, ...fields);
        return JSON.stringify(await adapter.sendZdo(ieee, address, cluster, request, false));
    };
    console.log('version', JSON.stringify(await adapter.getCoordinatorVersion()));
    console.log('network', await adapter.getCoordinatorIEEE(), JSON.stringify(await adapter.getNetworkParameters()));
    console.log('node', await ask(Zdo.ClusterId.NODE_DESCRIPTOR_REQUEST, address));
    console.log('endpoints', await ask(Zdo.ClusterId.ACTIVE_ENDPOINTS_REQUEST, address));
    console.log('simple', await ask(Zdo.ClusterId.SIMPLE_DESCRIPTOR_REQUEST, address, 1));
    const read = Zcl.Frame.create(
        Zcl.FrameType.GLOBAL, Zcl.Direction.CLIENT_TO_SERVER, true, undefined, 77, 'read', 0, [{attrId: 4}, {attrId: 5}], {},
    );
    const answer = await adapter.sendZclFrameToEndpoint(ieee, address, 1, read, 5000, false, false, 1);
    console.log('basic', answer.data.toString('latin1').replace(/[^ -~]/g, '.'));
};

const main = async () => {
    let adapter = await connect();
    await look(adapter);
    if (restart) {
        console.log('connected');
        await adapter.ended;
        for (adapter = undefined; !adapter; ) {
            try {
                adapter = await connect();
            } catch {
                await sleep(500);
            }
        }
        await look(adapter);
    }
    await adapter.stop();
    process.exit(0);
};

main().catch((error) => {
    console.log('failed', error);
    process.exit(1);
});
