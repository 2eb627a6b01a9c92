"""Reads holding registers over Modbus TCP as fast as pymodbus can: PORT REQUESTS REGISTERS; prints seconds and CPU seconds."""
import sys
import time

from pymodbus.client import ModbusTcpClient

port, requests, registers = (int(word) for word in sys.argv[1:])
client = ModbusTcpClient("127.0.0.1", port=port)
assert client.connect()
begun, cpu = time.perf_counter(), time.process_time()
for _ in range(requests):
    answer = client.read_holding_registers(0, count=registers, device_id=1)
    assert len(answer.registers) == registers
print(time.perf_counter() - begun, time.process_time() - cpu)
