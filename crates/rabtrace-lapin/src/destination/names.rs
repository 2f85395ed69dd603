//! What a destination is called: exactly, and where names add up.

use std::sync::Arc;

use opentelemetry::{KeyValue, StringValue};

use super::Settings;
use crate::fixed::Fixed;
use crate::operation::Operation;
use crate::rules::template_of;
use crate::semconv::{self, Destination, OTHER_DESTINATION};

/// What a destination is called.
pub(super) struct Names {
    pub(super) name: StringValue,
    /// What it is called where names add up.
    pub(super) label: StringValue,
    /// Whether the label is not the name.
    templated: bool,
    anonymous: bool,
    /// Empty if there is none.
    routing_key: StringValue,
    /// The node of the path.
    pub(super) node: Arc<str>,
    /// What a delivery came through where that is not its queue.
    pub(super) via: Option<Arc<str>>,
}

/// A name or, if true, a template.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(bool, StringValue);

impl Names {
    pub(super) fn new(settings: &Settings, destination: &Destination<'_>) -> Self {
        let name: Arc<str> = destination.name().into();
        let template = template_of(&settings.templates, destination.routing_key);
        let routing_key = template.unwrap_or(destination.routing_key);
        let templated = Destination {
            routing_key,
            ..*destination
        };
        let label = templated.template();
        let label: Arc<str> = label.unwrap_or_else(|| templated.name()).into();
        Self {
            templated: label != name,
            anonymous: destination.is_anonymous(),
            node: templated.node().into(),
            via: templated.via().map(Arc::from),
            name: name.into(),
            label: label.into(),
            routing_key: Arc::<str>::from(destination.routing_key).into(),
        }
    }

    /// The same destination as one of the others, where names add up.
    pub(super) fn into_other(self) -> Self {
        Self {
            templated: true,
            label: OTHER_DESTINATION.into(),
            node: OTHER_DESTINATION.into(),
            via: self.via.map(|_| OTHER_DESTINATION.into()),
            ..self
        }
    }

    /// What tells it from others in metrics.
    pub(super) fn label(&self) -> Label {
        Label(self.templated, self.label.clone())
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    pub(super) fn add_to(&self, attributes: &mut Vec<Fixed>, operation: Operation) {
        let mut add = |attribute| attributes.push(attribute);
        let text = |key, value: &StringValue| Fixed::text(key, value.as_str());
        add(text(semconv::MESSAGING_DESTINATION_NAME, &self.name));
        if self.templated {
            add(text(semconv::MESSAGING_DESTINATION_TEMPLATE, &self.label));
        }
        if operation.is_settlement() {
            return;
        }
        if self.anonymous {
            add(Fixed::flag(semconv::MESSAGING_DESTINATION_ANONYMOUS, true));
            add(Fixed::flag(semconv::MESSAGING_DESTINATION_TEMPORARY, true));
        }
        if !self.routing_key.as_str().is_empty() {
            let key = semconv::MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY;
            add(text(key, &self.routing_key));
        }
    }

    /// Metrics have the template in place of a name that is not of low cardinality.
    pub(super) fn metric_attributes(&self, server: &[KeyValue]) -> Vec<KeyValue> {
        let key = if self.templated {
            semconv::MESSAGING_DESTINATION_TEMPLATE
        } else {
            semconv::MESSAGING_DESTINATION_NAME
        };
        let mut attributes = vec![KeyValue::new(key, self.label.clone())];
        attributes.extend_from_slice(server);
        attributes
    }
}
