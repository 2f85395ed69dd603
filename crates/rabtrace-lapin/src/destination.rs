//! Destinations as spans, metrics and paths name them, made once and then shared.
//!
//! Input: exchange, routing key and queue. Output: a [`Known`] with everything about them that
//! does not change from message to message. The number of names that add up (in span names, metrics
//! and paths) is limited; destinations with the same template share one. The first names keep their
//! place. Beyond them, span names and paths still tell those destinations apart that are kept here:
//! the ones that were not used for longest make room; while all of them are in use, further ones
//! are called [`OTHER_DESTINATION`]. Metrics call all of them so: an SDK keeps every series that it
//! ever saw.

mod names;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use opentelemetry::{KeyValue, StringValue};

use self::names::{Label, Names};
use crate::hex;
use crate::intern;
use crate::metrics::DestinationSeries;
use crate::operation::Operation;
use crate::path::{self, Checkpoint, Direction, PathContext};
use crate::rules::{Handling, Rule, handling};
use crate::semconv::{self, Destination, OTHER_DESTINATION};

/// What is the same for all destinations of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) service_name: String,
    pub(crate) server_address: Option<StringValue>,
    pub(crate) server_port: Option<i64>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) templates: Vec<String>,
    /// How many destinations are kept, and how many names.
    pub(crate) limit: usize,
}

/// A destination that was used.
pub(crate) struct Known {
    key: [Box<str>; 3],
    direction: Direction,
    names: Option<Names>,
    server: Vec<KeyValue>,
    prepared: [OnceLock<Prepared>; Operation::COUNT],
    steps: Mutex<[Option<KnownStep>; STEPS]>,
    touched: AtomicBool,
    pub(crate) handling: Handling,
    pub(crate) series: Arc<DestinationSeries>,
}

/// The beginning of every span of one operation at one destination.
pub(crate) struct Prepared {
    pub(crate) name: Cow<'static, str>,
    pub(crate) attributes: Vec<KeyValue>,
}

/// How many steps are kept as text: most messages come one of a few ways.
const STEPS: usize = 8;

/// A step to a destination.
#[derive(Clone)]
struct KnownStep {
    from: Option<u64>,
    hash: u64,
    /// Made when a span says it first: the path with the step, and before it.
    texts: Option<(Arc<str>, Option<Arc<str>>)>,
}

impl Known {
    fn new(
        settings: &Settings,
        destination: &Destination<'_>,
        (names, series): (Names, Arc<DestinationSeries>),
    ) -> Self {
        Self {
            key: key_of(destination).map(Box::from),
            direction: direction_of(destination),
            names: Some(names),
            server: server_attributes(settings),
            prepared: [const { OnceLock::new() }; Operation::COUNT],
            steps: Mutex::default(),
            touched: AtomicBool::new(true),
            handling: handling(&settings.rules, destination),
            series,
        }
    }

    /// Where it is not known which destination an operation was for.
    fn nowhere(settings: &Settings) -> Self {
        let server = server_attributes(settings);
        Self {
            key: Default::default(),
            direction: Direction::In,
            names: None,
            series: Arc::new(DestinationSeries::new(server.clone())),
            server,
            prepared: [const { OnceLock::new() }; Operation::COUNT],
            steps: Mutex::default(),
            touched: AtomicBool::new(true),
            handling: Handling::default(),
        }
    }

    fn is(&self, destination: &Destination<'_>) -> bool {
        let [exchange, routing_key, queue] = key_of(destination);
        *self.key[1] == *routing_key
            && *self.key[2] == *queue
            && *self.key[0] == *exchange
            && self.direction == direction_of(destination)
    }

    /// Name and attributes that every span of that operation has.
    pub(crate) fn prepared(&self, operation: Operation) -> Option<&Prepared> {
        let prepared = self.prepared.get(operation.index())?;
        Some(prepared.get_or_init(|| self.prepare(operation)))
    }

    fn prepare(&self, operation: Operation) -> Prepared {
        let mut attributes = vec![
            KeyValue::new(semconv::MESSAGING_SYSTEM, semconv::RABBITMQ),
            KeyValue::new(semconv::MESSAGING_OPERATION_NAME, operation.name()),
            KeyValue::new(
                semconv::MESSAGING_OPERATION_TYPE,
                operation.operation_type(),
            ),
        ];
        if let Some(names) = &self.names {
            names.add_to(&mut attributes, operation);
        }
        attributes.extend_from_slice(&self.server);
        if let (Some(names), Operation::Publish | Operation::Process) = (&self.names, operation) {
            let direction = self.direction.as_str();
            let node = StringValue::from(Arc::clone(&names.node));
            attributes.push(KeyValue::new(semconv::RABTRACE_DIRECTION, direction));
            attributes.push(KeyValue::new(semconv::RABTRACE_DESTINATION, node));
        }
        let name = match self.label() {
            Some(label) => intern::name(format!("{} {label}", operation.name())),
            None => Cow::Borrowed(operation.name()),
        };
        Prepared { name, attributes }
    }

    /// The conventions name an operation without a destination by its server.
    fn label(&self) -> Option<Cow<'_, str>> {
        if let Some(names) = &self.names {
            return Some(Cow::Borrowed(names.label.as_str()));
        }
        let parts: Vec<String> = self.server.iter().map(|at| at.value.to_string()).collect();
        (!parts.is_empty()).then(|| Cow::Owned(parts.join(":")))
    }

    /// `messaging.destination.name`.
    pub(crate) fn name(&self) -> Option<StringValue> {
        Some(self.names.as_ref()?.name.clone())
    }

    /// The next step of a path, to here.
    pub(crate) fn step(
        &self,
        settings: &Settings,
        parent: Option<&PathContext>,
        now_us: u64,
    ) -> Checkpoint {
        let from = parent.map(|parent| parent.hash);
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = match steps.get_mut(place(from)) {
            Some(Some(known)) if known.from == from => known.hash,
            kept => {
                let hash = self.hash_from(settings, from);
                if let Some(kept) = kept {
                    let texts = None;
                    *kept = Some(KnownStep { from, hash, texts });
                }
                hash
            }
        };
        path::advance(parent, hash, now_us)
    }

    fn hash_from(&self, settings: &Settings, from: Option<u64>) -> u64 {
        let node = self.names.as_ref().map_or("", |names| &names.node);
        path::step_hash(from, &settings.service_name, (self.direction, node))
    }

    /// Adds what a span says of a step.
    pub(crate) fn add_step(&self, step: &Checkpoint, attributes: &mut Vec<KeyValue>) {
        let (text, from_text) = self.texts(step);
        let text = StringValue::from(text);
        attributes.push(KeyValue::new(semconv::RABTRACE_PATH_HASH, text));
        if let Some(parent) = from_text.map(StringValue::from) {
            attributes.push(KeyValue::new(semconv::RABTRACE_PATH_PARENT, parent));
        }
        let seconds = [
            (semconv::RABTRACE_PATH_EDGE_DURATION, step.edge),
            (semconv::RABTRACE_PATH_DURATION, step.total),
        ];
        for (key, duration) in seconds {
            attributes.extend(duration.map(|value| KeyValue::new(key, value.as_secs_f64())));
        }
    }

    fn texts(&self, step: &Checkpoint) -> (Arc<str>, Option<Arc<str>>) {
        let make = || {
            let parent = step.parent_hash.map(hex::text);
            (hex::text(step.context.hash), parent)
        };
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match steps.get_mut(place(step.parent_hash)) {
            Some(Some(known)) if known.hash == step.context.hash => {
                known.texts.get_or_insert_with(make).clone()
            }
            _ => make(),
        }
    }
}

/// Where a step is kept. Hashes are spread well as they are.
fn place(from: Option<u64>) -> usize {
    let steps = u64::try_from(STEPS).unwrap_or(1);
    usize::try_from(from.unwrap_or(0) % steps).unwrap_or(0)
}

fn server_attributes(settings: &Settings) -> Vec<KeyValue> {
    let address = settings.server_address.clone();
    let address = address.map(|address| KeyValue::new(semconv::SERVER_ADDRESS, address));
    let port = settings.server_port;
    let port = port.map(|port| KeyValue::new(semconv::SERVER_PORT, port));
    address.into_iter().chain(port).collect()
}

fn key_of<'a>(destination: &Destination<'a>) -> [&'a str; 3] {
    let queue = destination.queue.unwrap_or_default();
    [destination.exchange, destination.routing_key, queue]
}

fn direction_of(destination: &Destination<'_>) -> Direction {
    if destination.queue.is_some() {
        Direction::In
    } else {
        Direction::Out
    }
}

/// The destinations of a channel.
pub(crate) struct Destinations {
    pub(crate) settings: Settings,
    pub(crate) nowhere: Arc<Known>,
    /// The series of all destinations beyond the limit.
    others: Arc<DestinationSeries>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    known: HashMap<u64, Arc<Known>>,
    /// The first names, with the series of each.
    series: HashMap<Label, Arc<DestinationSeries>>,
    /// The last one of each direction.
    last: [Option<Arc<Known>>; 2],
    /// Destinations that were not known since room was made last.
    missed: usize,
}

impl Destinations {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut attributes = vec![KeyValue::new(
            semconv::MESSAGING_DESTINATION_TEMPLATE,
            OTHER_DESTINATION,
        )];
        attributes.extend(server_attributes(&settings));
        Self {
            nowhere: Arc::new(Known::nowhere(&settings)),
            others: Arc::new(DestinationSeries::new(attributes)),
            settings,
            cache: Mutex::default(),
        }
    }

    /// What is known of a destination.
    pub(crate) fn find(&self, destination: &Destination<'_>) -> Arc<Known> {
        let mut cache = self.lock();
        let side = usize::from(destination.queue.is_some());
        if let Some(Some(last)) = cache.last.get(side)
            && last.is(destination)
        {
            last.touched.store(true, Ordering::Relaxed);
            return Arc::clone(last);
        }
        let hash = hash_of(destination);
        let found = cache.known.get(&hash).filter(|known| known.is(destination));
        let known = match found {
            Some(known) => Arc::clone(known),
            None => self.learn(&mut cache, hash, destination),
        };
        known.touched.store(true, Ordering::Relaxed);
        if let Some(last) = cache.last.get_mut(side) {
            *last = Some(Arc::clone(&known));
        }
        known
    }

    fn learn(&self, cache: &mut Cache, hash: u64, destination: &Destination<'_>) -> Arc<Known> {
        cache.missed += 1;
        if cache.known.len() >= self.settings.limit && cache.missed >= self.settings.limit {
            // Those that were not used since the last time make room.
            cache.missed = 0;
            let touched = |known: &Arc<Known>| known.touched.swap(false, Ordering::Relaxed);
            cache.known.retain(|_, known| touched(known));
        }
        let has_room = cache.known.len() < self.settings.limit;
        let names = Names::new(&self.settings, destination);
        let series = self.series(cache, &names);
        let names = if series.is_none() && !has_room {
            names.into_other()
        } else {
            names
        };
        let series = series.unwrap_or_else(|| Arc::clone(&self.others));
        let known = Arc::new(Known::new(&self.settings, destination, (names, series)));
        if has_room {
            cache.known.insert(hash, Arc::clone(&known));
        }
        known
    }

    /// The series of a name that is one of the first.
    fn series(&self, cache: &mut Cache, names: &Names) -> Option<Arc<DestinationSeries>> {
        let label = names.label();
        if let Some(series) = cache.series.get(&label) {
            return Some(Arc::clone(series));
        }
        if cache.series.len() >= self.settings.limit {
            return None;
        }
        let attributes = names.metric_attributes(&server_attributes(&self.settings));
        let series = Arc::new(DestinationSeries::new(attributes));
        cache.series.insert(label, Arc::clone(&series));
        Some(series)
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash_of(destination: &Destination<'_>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    key_of(destination).hash(&mut hasher);
    destination.queue.is_some().hash(&mut hasher);
    hasher.finish()
}
