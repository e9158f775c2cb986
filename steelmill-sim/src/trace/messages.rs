//! Messages of a trace: for each the events of its send, its delays and its arrival or loss.

use super::{EventKind, Trace};

/// The events of one message, as indices into [`Trace::events`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageTrace {
    /// The message's number.
    pub message: u32,
    /// Its send: a [`EventKind::Message`].
    pub left: usize,
    /// Its delays: each a [`EventKind::Delayed`].
    pub delays: Vec<usize>,
    /// Its end: a [`EventKind::Arrive`] or a [`EventKind::Lost`]; `None` if it is in flight when the run ends.
    pub ended: Option<usize>,
}

impl Trace {
    /// All messages, in the order of their sends; without those whose send the trace does not contain.
    pub fn messages(&self) -> Vec<MessageTrace> {
        let mut messages: Vec<MessageTrace> = Vec::new();
        // Messages are numbered consecutively.
        fn numbered(messages: &mut [MessageTrace], message: u32) -> Option<&mut MessageTrace> {
            let index = message.checked_sub(messages.first()?.message)?;
            messages.get_mut(index as usize)
        }
        for (index, event) in self.events.iter().enumerate() {
            match event.what {
                EventKind::Message { message, .. } => {
                    messages.push(MessageTrace { message, left: index, delays: Vec::new(), ended: None });
                }
                EventKind::Delayed { message, .. } => {
                    numbered(&mut messages, message).into_iter().for_each(|trace| trace.delays.push(index));
                }
                EventKind::Arrive { message } | EventKind::Lost { message, .. } => {
                    numbered(&mut messages, message).into_iter().for_each(|trace| trace.ended = Some(index));
                }
                _ => {}
            }
        }
        messages
    }
}
