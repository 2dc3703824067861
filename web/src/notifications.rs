//! What the operator shall know while it holds: shown by the web pages, told at
//! once to those that listen.

use std::sync::Arc;

use axum::body::Bytes;
use model::Clock;
use model::metrics::{Counter, Gauge, Registry};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::status::rfc3339;

/// The server is not ready yet.
pub const STARTING: &str = "Prometheus is starting and replaying the write-ahead log (WAL).";
/// A reload failed and the earlier configuration holds.
pub const RELOAD_FAILED: &str = "Configuration reload has failed.";
/// The server is stopping.
pub const STOPPING: &str = "Prometheus is shutting down and gracefully stopping all operations.";

/// Messages that a listener may be behind before it misses some.
const QUEUE: usize = 64;

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notification {
    /// What is told.
    pub text: String,
    /// Since when it holds, RFC 3339.
    pub date: String,
    /// False where it is told that it no longer holds.
    pub active: bool,
}

/// What holds now, and who listens.
pub struct Notifications {
    clock: Arc<dyn Clock>,
    subscribers_max: usize,
    state: Mutex<State>,
    subscribers: Gauge,
    sent: Counter,
    dropped: Counter,
}

#[derive(Default)]
struct State {
    active: Vec<Notification>,
    subscribers: Vec<mpsc::Sender<Bytes>>,
}

impl Notifications {
    /// Nothing holds, nobody listens.
    pub fn new(subscribers_max: usize, clock: Arc<dyn Clock>, registry: &Registry) -> Notifications {
        Notifications {
            clock,
            subscribers_max,
            state: Mutex::default(),
            subscribers: registry.gauge(
                "prometheus_api_notification_active_subscribers",
                "The current number of active notification subscribers.",
            ),
            sent: registry.counter(
                "prometheus_api_notification_updates_sent_total",
                "Total number of notification updates sent.",
            ),
            dropped: registry.counter(
                "prometheus_api_notification_updates_dropped_total",
                "Total number of notification updates dropped.",
            ),
        }
    }

    /// Tells something; a text that holds already is not told again.
    pub fn add(&self, text: &str) {
        let mut state = self.state.lock();
        if state.active.iter().any(|have| have.text == text) {
            return;
        }
        let date = rfc3339(self.clock.now_ms());
        let notification = Notification { text: text.to_owned(), date, active: true };
        self.tell(&mut state, &notification);
        state.active.push(notification);
    }

    /// Tells that something no longer holds.
    pub fn remove(&self, text: &str) {
        let mut state = self.state.lock();
        let Some(at) = state.active.iter().position(|have| have.text == text) else { return };
        let mut notification = state.active.remove(at);
        notification.active = false;
        self.tell(&mut state, &notification);
    }

    /// What holds now.
    pub fn active(&self) -> Vec<Notification> {
        self.state.lock().active.clone()
    }

    /// Messages as server-sent events: first what holds now, then every change.
    /// `None` where as many listen already as may.
    pub fn subscribe(&self) -> Option<mpsc::Receiver<Bytes>> {
        let mut state = self.state.lock();
        self.forget_gone(&mut state);
        if state.subscribers.len() >= self.subscribers_max {
            return None;
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        for notification in &state.active {
            self.send(&sender, event(notification));
        }
        state.subscribers.push(sender);
        self.subscribers.set(state.subscribers.len() as f64);
        Some(receiver)
    }

    /// Ends all subscriptions: the server stops.
    pub fn close(&self) {
        self.state.lock().subscribers.clear();
    }

    fn forget_gone(&self, state: &mut State) {
        state.subscribers.retain(|sender| !sender.is_closed());
        self.subscribers.set(state.subscribers.len() as f64);
    }

    fn tell(&self, state: &mut State, notification: &Notification) {
        self.forget_gone(state);
        let event = event(notification);
        for sender in &state.subscribers {
            self.send(sender, event.clone());
        }
    }

    fn send(&self, sender: &mpsc::Sender<Bytes>, event: Bytes) {
        match sender.try_send(event) {
            Ok(()) => self.sent.inc(),
            Err(_) => self.dropped.inc(),
        }
    }
}

fn event(notification: &Notification) -> Bytes {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&crate::json::to_vec(notification));
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_hear_what_holds_and_what_changes() {
        let clock = Arc::new(testkit::TestClock::new(1_000));
        let notifications = Notifications::new(1, clock, &Registry::new());
        notifications.add("a");
        notifications.add("a");
        let mut events = notifications.subscribe().unwrap();
        assert!(notifications.subscribe().is_none(), "only one may listen");
        notifications.remove("a");
        let mut next = || String::from_utf8(events.try_recv().unwrap().to_vec()).unwrap();
        assert_eq!(next(), "data: {\"text\":\"a\",\"date\":\"1970-01-01T00:00:01Z\",\"active\":true}\n\n");
        assert_eq!(next(), "data: {\"text\":\"a\",\"date\":\"1970-01-01T00:00:01Z\",\"active\":false}\n\n");
        assert!(notifications.active().is_empty());
        drop(events);
        assert!(notifications.subscribe().is_some(), "who left makes room");
    }
}
