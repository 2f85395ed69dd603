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
use crate::fixed::Fixed;
use crate::intern;
use crate::metrics::DestinationSeries;
use crate::operation::Operation;
use crate::path::{Direction, Node, Step};
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
    server: Vec<Fixed>,
    prepared: [OnceLock<Prepared>; Operation::COUNT],
    node: Node,
    touched: AtomicBool,
    pub(crate) handling: Handling,
    pub(crate) series: Arc<DestinationSeries>,
}

/// The beginning of every span of one operation at one destination.
pub(crate) struct Prepared {
    pub(crate) name: Cow<'static, str>,
    pub(crate) attributes: Vec<Fixed>,
}

impl Known {
    fn new(
        settings: &Settings,
        destination: &Destination<'_>,
        (names, series): (Names, Arc<DestinationSeries>),
    ) -> Self {
        let direction = direction_of(destination);
        let step = Step {
            via: names.via.as_deref(),
            ..Step::new(&settings.service_name, direction, &names.node)
        };
        Self {
            key: key_of(destination).map(Box::from),
            direction,
            node: Node::of(&step),
            names: Some(names),
            server: server_attributes(settings),
            prepared: [const { OnceLock::new() }; Operation::COUNT],
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
            node: Node::of(&Step::new(&settings.service_name, Direction::In, "")),
            names: None,
            series: Arc::new(DestinationSeries::new(attributes_of(&server))),
            server,
            prepared: [const { OnceLock::new() }; Operation::COUNT],
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
            Fixed::constant(semconv::MESSAGING_SYSTEM, semconv::RABBITMQ),
            Fixed::constant(semconv::MESSAGING_OPERATION_NAME, operation.name()),
            Fixed::constant(
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
            let node = Arc::clone(&names.node);
            attributes.push(Fixed::constant(semconv::RABTRACE_DIRECTION, direction));
            attributes.push(Fixed::text(semconv::RABTRACE_DESTINATION, node));
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
        let server = self.server.iter().map(Fixed::attribute);
        let parts: Vec<String> = server.map(|at| at.value.to_string()).collect();
        (!parts.is_empty()).then(|| Cow::Owned(parts.join(":")))
    }

    /// `messaging.destination.name`.
    pub(crate) fn name(&self) -> Option<StringValue> {
        Some(self.names.as_ref()?.name.clone())
    }

    /// Where a step of a path to here leads to.
    pub(crate) fn node(&self) -> Node {
        self.node
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// The destination as paths name it.
    pub(crate) fn place(&self) -> Arc<str> {
        let names = self.names.as_ref();
        names.map_or_else(|| "".into(), |names| Arc::clone(&names.node))
    }

    /// What deliveries came through where that is not their queue.
    pub(crate) fn via(&self) -> Option<Arc<str>> {
        self.names.as_ref()?.via.clone()
    }

    /// Whether it is the default exchange with a name that was made up: that of a queue for
    /// replies.
    pub(crate) fn is_for_replies(&self) -> bool {
        let is_anonymous = self.names.as_ref().is_some_and(Names::is_anonymous);
        self.key[0].is_empty() && is_anonymous
    }
}

fn server_attributes(settings: &Settings) -> Vec<Fixed> {
    let address = settings.server_address.as_ref();
    let address = address.map(|address| Fixed::text(semconv::SERVER_ADDRESS, address.as_str()));
    let port = settings.server_port;
    let port = port.map(|port| Fixed::number(semconv::SERVER_PORT, port));
    address.into_iter().chain(port).collect()
}

fn attributes_of(fixed: &[Fixed]) -> Vec<KeyValue> {
    fixed.iter().map(Fixed::attribute).collect()
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
        attributes.extend(attributes_of(&server_attributes(&settings)));
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
        let server = attributes_of(&server_attributes(&self.settings));
        let attributes = names.metric_attributes(&server);
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
