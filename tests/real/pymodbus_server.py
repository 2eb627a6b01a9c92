"""An independent Modbus server for the tests: register n of each table holds what `values` says, or what the last argument says.

Arguments: a TCP port, a port for RTU frames over TCP, a serial path, and perhaps {"17": {"hr": {"0": 5}, "ir": {}, "co": {}, "di": {}}}: cells
by device, table and address, and no others. Prints `ready` when all of them listen.
"""
import asyncio
import json
import logging
import sys

from pymodbus import FramerType
from pymodbus.datastore import (
    ModbusDeviceContext,
    ModbusSequentialDataBlock,
    ModbusServerContext,
    ModbusSparseDataBlock,
)
from pymodbus.server import ModbusSerialServer, ModbusTcpServer

COUNT = 300


def values(first, step):
    # The library numbers a block's cells from 1 where the wire counts from 0.
    return ModbusSequentialDataBlock(1, [(first + step * n) % 65536 for n in range(COUNT)])


def bits(period):
    return ModbusSequentialDataBlock(1, [n % period == 0 for n in range(COUNT)])


def device(tables):
    def block(cells):
        # Sparse blocks count from 0. An empty one is refused, so there is one cell that nobody asks for.
        return ModbusSparseDataBlock({int(at): cell for at, cell in cells.items()} or {65534: 0})

    return ModbusDeviceContext(**{name: block(cells) for name, cells in tables.items()})


async def main():
    # The last read asks for a slave that is not there, which is no news.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    tcp, rtu_over_tcp, serial = sys.argv[1:4]
    if len(sys.argv) > 4:
        devices = {int(slave): device(tables) for slave, tables in json.loads(sys.argv[4]).items()}
    else:
        devices = {17: ModbusDeviceContext(di=bits(3), co=bits(2), ir=values(7, 257), hr=values(65000, 11))}
    context = ModbusServerContext(devices=devices, single=False)
    servers = [
        ModbusTcpServer(context, framer=FramerType.SOCKET, address=("127.0.0.1", int(tcp))),
        ModbusTcpServer(context, framer=FramerType.RTU, address=("127.0.0.1", int(rtu_over_tcp))),
        ModbusSerialServer(context, framer=FramerType.RTU, port=serial, baudrate=115200),
    ]
    for server in servers:
        await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
