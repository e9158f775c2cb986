//! Messages of a trace, each as a story: where it left, what delayed it, where it ended.

use super::{EventKind, Trace};

/// The story of a message. Places are those of events in the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageTrace {
    /// Its number.
    pub message: u32,
    /// Where it left: a [`EventKind::Message`].
    pub left: usize,
    /// What made it late: each a [`EventKind::Delayed`].
    pub delays: Vec<usize>,
    /// Where it ended: a [`EventKind::Arrive`] or a [`EventKind::Lost`]; `None` for one that is still on its way when the run ends.
    pub ended: Option<usize>,
}

impl Trace {
    /// All messages, in the order they left. One whose leaving was not kept is none.
    pub fn messages(&self) -> Vec<MessageTrace> {
        let mut messages: Vec<MessageTrace> = Vec::new();
        // Numbers go up by one.
        fn of(messages: &mut [MessageTrace], message: u32) -> Option<&mut MessageTrace> {
            let place = message.checked_sub(messages.first()?.message)?;
            messages.get_mut(place as usize)
        }
        for (place, event) in self.events.iter().enumerate() {
            match event.what {
                EventKind::Message { message, .. } => {
                    messages.push(MessageTrace { message, left: place, delays: Vec::new(), ended: None });
                }
                EventKind::Delayed { message, .. } => {
                    of(&mut messages, message).into_iter().for_each(|passage| passage.delays.push(place));
                }
                EventKind::Arrive { message } | EventKind::Lost { message, .. } => {
                    of(&mut messages, message).into_iter().for_each(|passage| passage.ended = Some(place));
                }
                _ => {}
            }
        }
        messages
    }
}
