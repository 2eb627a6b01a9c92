//! The task of a line whatever it speaks, and of a port where DTUs dial in: run until they are to end.
//!
//! In: a line's task and its stop. Out: what a successor goes on with.
//! Invariant: a panic ends the poll it happened in, is logged, and the line goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::bus::port::dial_in::door::Door;
use crate::bus::tap::Listeners;
use crate::gateway::board::Board;
use crate::gateway::line::{Left, LineTask};
use crate::gateway::text_line::TextTask;

/// The task of a line, whatever it speaks.
pub(crate) enum Task {
    Modbus(Box<LineTask>),
    Text(Box<TextTask>),
}

impl Task {
    async fn run(&mut self) {
        match self {
            Self::Modbus(task) => task.run().await,
            Self::Text(task) => task.run().await,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Modbus(task) => &task.name,
            Self::Text(task) => &task.name,
        }
    }

    /// Ends after the present poll once this turns true.
    fn heed(&mut self, stop: watch::Receiver<bool>) {
        match self {
            Self::Modbus(task) => task.stop = Some(stop),
            Self::Text(task) => task.stop = Some(stop),
        }
    }

    /// Lets others see what passes on the line.
    pub(crate) fn tell(&mut self, listeners: &Listeners) {
        match self {
            Self::Modbus(task) => task.tell(listeners),
            Self::Text(task) => task.tell(listeners),
        }
    }

    /// Goes on with the counts of the task that the line had before.
    pub(crate) fn inherit(&mut self, before: Left) {
        match self {
            Self::Modbus(task) => task.inherit(before),
            Self::Text(task) => task.inherit(before),
        }
    }

    fn leave(self) -> Left {
        match self {
            Self::Modbus(task) => task.leave(),
            Self::Text(task) => task.leave(),
        }
    }
}

/// Runs the line until the end of the poll in which `stop` turns true, or until it is to be polled in another way; a panic ends the poll it happened in,
/// is logged, and the line goes on.
pub(crate) async fn supervise(mut task: Task, stop: watch::Receiver<bool>) -> Left {
    use futures_util::FutureExt;
    task.heed(stop);
    loop {
        match std::panic::AssertUnwindSafe(task.run()).catch_unwind().await {
            Ok(()) => return task.leave(),
            Err(_) => {
                tracing::error!(line = %task.name(), "polling this line failed by a fault of ours; going on in 1 s")
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Serves a port where DTUs dial in until `stop`; a panic ends all its connections, is logged, and the port is opened again.
pub(crate) async fn attend(door: Arc<Door>, board: Arc<Board>, mut stop: watch::Receiver<bool>) {
    use futures_util::FutureExt;
    loop {
        let served = door.run(|losses| board.losses(losses));
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = std::panic::AssertUnwindSafe(served).catch_unwind() => {}
        }
        tracing::error!(listen = %door.listen, "the port for dial-in failed by a fault of ours; going on in 1 s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
