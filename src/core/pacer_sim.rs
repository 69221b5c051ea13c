//! A simulated service with one token bucket, and any number of clients that pace themselves against it.
//! Deterministic: same seed, same trace. The two claims of DESIGN §9 on quota use are tests here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::pacer::Bucket;

/// What one run shows.
#[derive(Debug, Clone, Copy)]
struct Figures {
    /// Accepted calls over what the service would have taken.
    used: f64,
    /// Throttled calls over all.
    throttled: f64,
}

struct Run {
    clients: usize,
    /// Of each client, calls per second.
    configured: f64,
    /// Of the service.
    quota: f64,
    burst: u32,
    /// Calls that one client keeps waiting or in flight.
    workers: usize,
    /// Seconds before measuring begins.
    warm_up: f64,
    seconds: f64,
    seed: u64,
}

/// xorshift64*: enough for jitter.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Wants a turn.
    Ask,
    /// Its turn has come.
    Go,
    Arrive,
    Answer {
        accepted: bool,
    },
}

impl Run {
    fn go(&self) -> Figures {
        let mut random = Random(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut buckets = vec![Bucket::new(self.configured, 3); self.clients];
        let mut events = BinaryHeap::new();
        let nanos = |seconds: f64| u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap();
        for client in 0..self.clients {
            for _ in 0..self.workers {
                events.push(Reverse((nanos(random.next() * 2.0), client, Event::Ask)));
            }
        }
        let (mut tokens, mut filled) = (f64::from(self.burst), 0.0);
        let (mut accepted, mut throttled) = (0.0, 0.0);
        let mut room = 0.0;
        // As in `aws::pace`: one caller of a client waits for its slot, the others wait behind it.
        let mut queued = vec![0_u32; self.clients];
        let mut gate_held = vec![false; self.clients];
        while let Some(Reverse((at, client, event))) = events.pop() {
            let seconds = at as f64 / 1e9;
            if seconds > self.seconds {
                break;
            }
            let now = Duration::from_nanos(at);
            let counts = seconds >= self.warm_up;
            match event {
                Event::Ask if gate_held[client] => queued[client] += 1,
                Event::Ask => {
                    gate_held[client] = true;
                    let wait = buckets[client].reserve(now).as_secs_f64();
                    // A timer is late by up to 1.2 ms.
                    let late = if wait > 0.0 { random.next() * 0.0012 } else { 0.0 };
                    events.push(Reverse((nanos(seconds + wait + late), client, Event::Go)));
                }
                Event::Go => {
                    gate_held[client] = false;
                    if queued[client] > 0 {
                        queued[client] -= 1;
                        events.push(Reverse((at, client, Event::Ask)));
                    }
                    // The way to the service takes 15 to 60 ms.
                    let arrives = seconds + 0.015 + random.next() * 0.045;
                    events.push(Reverse((nanos(arrives), client, Event::Arrive)));
                }
                Event::Arrive => {
                    tokens = (tokens + (seconds - filled) * self.quota).min(f64::from(self.burst));
                    filled = seconds;
                    let taken = tokens >= 1.0;
                    if taken {
                        tokens -= 1.0;
                    }
                    if counts {
                        if room == 0.0 {
                            room = tokens;
                        }
                        if taken { accepted += 1.0 } else { throttled += 1.0 }
                    }
                    let answered = seconds + 0.015 + random.next() * 0.045;
                    events.push(Reverse((nanos(answered), client, Event::Answer { accepted: taken })));
                }
                Event::Answer { accepted } => {
                    if accepted {
                        buckets[client].succeeded(now)
                    } else {
                        buckets[client].throttled(now)
                    }
                    events.push(Reverse((at + nanos(random.next() * 0.01), client, Event::Ask)));
                }
            }
        }
        let possible = self.quota * (self.seconds - self.warm_up) + room;
        Figures { used: accepted / possible, throttled: throttled / (accepted + throttled) }
    }
}

fn alone(quota: f64, seed: u64) -> Run {
    Run { clients: 1, configured: quota, quota, burst: 5, workers: 64, warm_up: 0.0, seconds: 1000.0 / quota, seed }
}

fn ten(warm_up: f64, seconds: f64, seed: u64) -> Run {
    Run { clients: 10, configured: 2.0, quota: 2.0, burst: 5, workers: 8, warm_up, seconds, seed }
}

/// Runs five seeds; returns the least use and the largest share of throttled calls.
fn worst(what: &str, run: impl Fn(u64) -> Run) -> Figures {
    let worst = (1..=5).map(|seed| run(seed).go()).fold(Figures { used: 1.0, throttled: 0.0 }, |a, b| Figures {
        used: a.used.min(b.used),
        throttled: a.throttled.max(b.throttled),
    });
    println!("{what}: used {:.1} %, throttled {:.2} %", worst.used * 100.0, worst.throttled * 100.0);
    worst
}

#[test]
fn alone_at_exactly_the_quota() {
    for quota in [1.0, 2.0, 20.0] {
        let worst = worst(&format!("alone at {quota}/s"), |seed| alone(quota, seed));
        assert!(worst.used > 0.95 && worst.throttled < 0.01, "{quota}/s: {worst:?}");
    }
}

#[test]
fn ten_share_one_quota() {
    let settled = worst("ten sharing 2/s, minutes 10 to 60", |seed| ten(600.0, 3600.0, seed));
    assert!(settled.used > 0.95 && settled.throttled < 0.02, "{settled:?}");
    let from_the_start = worst("ten sharing 2/s, from the start, 10 minutes", |seed| ten(0.0, 600.0, seed));
    assert!(from_the_start.used > 0.95 && from_the_start.throttled < 0.2, "{from_the_start:?}");
    let modest =
        worst("ten at the default 1/s sharing 2/s", |seed| Run { configured: 1.0, ..ten(600.0, 3600.0, seed) });
    assert!(modest.used > 0.95 && modest.throttled < 0.02, "{modest:?}");
}
