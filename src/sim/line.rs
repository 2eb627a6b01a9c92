//! What the devices of one simulated line answer.
//!
//! In: requests as the server of the library has read them. Out: its answers, exceptions, or silence.
//! Invariant: an absent, dead or switched-off slave gives no answer at all.
//! Source: Modbus Application Protocol V1.1b3, 6.1 to 6.4 (most cells of a read), 6.21.

use std::future::Ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject, ReadCode, ReadDeviceIdentificationResponse};
use tokio_modbus::server::Service;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use crate::bus::{Read, Slave, Table};
use crate::profile::firmware::Told;
use crate::profile::trigger::Act;
use crate::sim::device::{Answer, Control, Memory, SimDevice};
use crate::sim::wire::{Habits, SharedHabits};

/// The devices of one line.
pub(crate) struct Line {
    devices: Vec<SimDevice>,
    control: Arc<Control>,
    begin: Instant,
    turnaround: Duration,
    /// What each device remembers.
    memories: Mutex<Vec<Memory>>,
}

impl Line {
    /// These devices on a line where an answer begins after `turnaround`; the story began at `begin`.
    pub(crate) fn new(
        devices: Vec<SimDevice>,
        control: &Arc<Control>,
        begin: Instant,
        turnaround: Duration,
    ) -> Self {
        let memories = Mutex::new(vec![Memory::default(); devices.len()]);
        Self { devices, control: Arc::clone(control), begin, turnaround, memories }
    }

    /// What `ask` comes to for the device of this address, at the time of the story and with its memory, and the habits of the line.
    fn answer(
        &self,
        slave: u8,
        ask: impl FnOnce(&SimDevice, Duration, &mut Memory) -> Answer,
    ) -> (Answer, Habits) {
        let time = now().saturating_duration_since(self.begin);
        let live = |device: &&SimDevice| !self.control.killed(&device.name);
        let place = self.devices.iter().position(|device| live(&device) && device.slave == Slave(slave));
        let asked = place.and_then(|place| self.devices.get(place));
        let mut habits = asked.map(|device| device.habits(time)).unwrap_or_default();
        habits.delay += self.turnaround;
        // Echo and babble are on the line whoever is asked.
        for other in self.devices.iter().filter(live).map(|device| device.habits(time)) {
            habits.echo |= other.echo;
            habits.babble = habits.babble.or(other.babble);
        }
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = place.and_then(|place| memories.get_mut(place));
        let answer = asked.zip(memory).map(|(device, memory)| ask(device, time, memory));
        (answer.unwrap_or(Answer::Silence), habits)
    }

    /// A write to the device of this address.
    fn write(&self, slave: u8, act: &Act) -> (Answer, Habits) {
        self.answer(slave, |device, time, memory| {
            device.write(act, time, memory).err().unwrap_or(Answer::Cells(Vec::new()))
        })
    }
}

/// What the server of the library asks for each request.
pub(crate) struct Answerer {
    pub(crate) line: Arc<Line>,
    pub(crate) habits: SharedHabits,
}

impl Service for Answerer {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, asked: SlaveRequest<'static>) -> Self::Future {
        let slave = asked.slave;
        let (table, address, count) = match asked.request {
            Request::ReadCoils(address, count) => (Table::Coil, address, count),
            Request::ReadDiscreteInputs(address, count) => (Table::Discrete, address, count),
            Request::ReadHoldingRegisters(address, count) => (Table::Holding, address, count),
            Request::ReadInputRegisters(address, count) => (Table::Input, address, count),
            Request::WriteSingleCoil(address, on) => {
                let answered = self.line.write(slave, &Act::Coil { address, on });
                return self.finish(answered, |_| Response::WriteSingleCoil(address, on));
            }
            Request::WriteSingleRegister(address, value) => {
                let answered = self.line.write(slave, &Act::Register { address, value });
                return self.finish(answered, |_| Response::WriteSingleRegister(address, value));
            }
            Request::WriteMultipleRegisters(address, values) => {
                let count = u16::try_from(values.len()).unwrap_or(u16::MAX);
                let act = Act::Registers { address, values: values.into_owned() };
                let answered = self.line.write(slave, &act);
                return self.finish(answered, |_| Response::WriteMultipleRegisters(address, count));
            }
            Request::ReadDeviceIdentification(code, _) => return self.identify(slave, code),
            _ => return std::future::ready(Err(ExceptionCode::IllegalFunction)),
        };
        let most = if matches!(table, Table::Coil | Table::Discrete) { 2000 } else { 125 };
        if !(1..=most).contains(&count) {
            return std::future::ready(Err(ExceptionCode::IllegalDataValue));
        }
        let read = Read { table, address, count };
        let answered = self.line.answer(slave, |device, time, memory| device.remembered(read, time, memory));
        self.finish(answered, |cells| response(table, cells))
    }
}

impl Answerer {
    fn finish(
        &self,
        (answer, habits): (Answer, Habits),
        response: impl FnOnce(Vec<u16>) -> Response,
    ) -> Ready<Result<Option<Response>, ExceptionCode>> {
        *self.habits.lock().unwrap_or_else(PoisonError::into_inner) = habits;
        std::future::ready(match answer {
            Answer::Cells(cells) => Ok(Some(response(cells))),
            Answer::Exception(code) => Err(ExceptionCode::new(code)),
            Answer::Silence => Ok(None),
        })
    }

    /// Maker, model and version of a device whose profile says that it tells them.
    fn identify(&self, slave: u8, code: ReadCode) -> Ready<Result<Option<Response>, ExceptionCode>> {
        let mut texts = Vec::new();
        let answered = self.line.answer(slave, |device, time, _| {
            let telling = device.firmware.telling.as_ref().map(|telling| &telling.from);
            let Some(Told::Identity(object)) = telling else { return Answer::Exception(1) };
            texts = vec![
                (0, device.profile.maker.clone()),
                (1, device.profile.name.clone()),
                (*object, device.version(time)),
            ];
            Answer::Cells(Vec::new())
        });
        self.finish(answered, |_| {
            let object = |(id, text): (u8, String)| DeviceIdObject { id, value: text.into_bytes().into() };
            Response::ReadDeviceIdentification(ReadDeviceIdentificationResponse {
                read_code: code,
                conformity_level: ConformityLevel::BasicIdentificationStreamOnly,
                more_follows: false,
                next_object_id: 0,
                device_id_objects: texts.into_iter().map(object).collect(),
            })
        })
    }
}

fn response(table: Table, cells: Vec<u16>) -> Response {
    let bits = |cells: Vec<u16>| cells.into_iter().map(|cell| cell != 0).collect();
    match table {
        Table::Coil => Response::ReadCoils(bits(cells)),
        Table::Discrete => Response::ReadDiscreteInputs(bits(cells)),
        Table::Holding => Response::ReadHoldingRegisters(cells),
        Table::Input => Response::ReadInputRegisters(cells),
    }
}

#[expect(clippy::disallowed_methods, reason = "the story runs in real time from its start")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
