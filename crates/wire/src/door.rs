//! The way of one request, from its headers to its answer.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use longshore_api::{Output, ServiceError, Value};
use longshore_seams::{Seams, Timestamp};
use longshore_sigv4::{Authorization, KeyCache, Known, VerifyError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::Instrument;

use crate::answer::{Answer, Envelope, Protocol, with_type};
use crate::metrics::{CONTENT_TYPE, Counted};
use crate::route::{Route, Routes, content_type, has_parameter, is_form};
use crate::{
    AuditRecord, AuditSink, AuthorizationRequest, Authorizer, Config, Credential, CredentialStore, Metrics, Principal,
    Readiness, RequestContext, Service, Upgrade, audit, body, websocket,
};

/// Longest `User-Agent` that is kept, in characters.
const USER_AGENT_LIMIT: usize = 256;

/// What is behind the front door.
#[derive(Clone)]
pub struct Rooms {
    /// The services. Several may share a signing name if their versions differ.
    pub services: Vec<Arc<dyn Service>>,
    /// The WebSocket paths.
    pub upgrades: Vec<Arc<dyn Upgrade>>,
    /// Access keys.
    pub credentials: Arc<dyn CredentialStore>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// Where records of mutating calls go.
    pub audit: Arc<dyn AuditSink>,
    /// What `/ready` asks.
    pub readiness: Arc<dyn Readiness>,
}

/// The front door itself, shared by all connections.
pub(crate) struct Door {
    pub(crate) config: Config,
    pub(crate) rooms: Rooms,
    pub(crate) seams: Seams,
    pub(crate) metrics: Arc<Metrics>,
    routes: Routes,
    keys: KeyCache,
    in_flight: Semaphore,
}

/// The other end of a connection.
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    pub(crate) scheme: &'static str,
    /// Changes when the server shuts down.
    pub(crate) closing: watch::Receiver<bool>,
    /// The connection's place among [`crate::Limits::connections`], held also by its WebSocket.
    pub(crate) _place: OwnedSemaphorePermit,
    pub(crate) _counted: Counted,
}

/// When a request arrived, and its name.
pub(crate) struct Arrival {
    pub(crate) request_id: String,
    pub(crate) at: Timestamp,
    started: Duration,
}

/// Whose request it is, once the signature is verified; `None` for nobody.
pub(crate) type Caller = Option<(Authorization, Credential)>;

/// What the metrics say of a request.
struct Called {
    service: &'static str,
    operation: &'static str,
    code: &'static str,
}

impl Door {
    pub(crate) fn new(config: Config, rooms: Rooms, seams: Seams, metrics: Arc<Metrics>) -> Self {
        Self {
            routes: Routes::new(rooms.services.clone()),
            keys: KeyCache::new(config.limits.signing_keys),
            in_flight: Semaphore::new(config.limits.requests),
            config,
            rooms,
            seams,
            metrics,
        }
    }

    pub(crate) async fn handle(self: &Arc<Self>, request: Request<Incoming>, peer: &Arc<Peer>) -> Answer {
        let arrival = Arrival {
            request_id: self.seams.random.uuid(),
            at: self.seams.clock.now(),
            started: self.seams.clock.monotonic(),
        };
        if let Some(page) = self.open_page(&request, &arrival.request_id) {
            return page;
        }
        let span = tracing::info_span!(
            "request",
            id = arrival.request_id,
            service = tracing::field::Empty,
            operation = tracing::field::Empty
        );
        let path = request.uri().path();
        if let Some(upgrade) = self.rooms.upgrades.iter().find(|upgrade| upgrade.path() == path) {
            let upgrade = upgrade.clone();
            return websocket::open(self, upgrade, request, peer, &arrival).instrument(span).await;
        }
        let _counted = Counted::new(&self.metrics.in_flight);
        let (answer, called) = self.answer(request, peer, &arrival).instrument(span.clone()).await;
        let took = self.seams.clock.monotonic().saturating_sub(arrival.started);
        self.metrics.answered(called.service, called.operation, called.code, took);
        tracing::debug!(
            parent: &span,
            status = answer.status().as_u16(),
            code = called.code,
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
        answer
    }

    /// The pages that need no signature.
    fn open_page(&self, request: &Request<Incoming>, request_id: &str) -> Option<Answer> {
        const TEXT: &str = "text/plain; charset=utf-8";
        if request.method() != Method::GET || request.headers().contains_key(header::AUTHORIZATION) {
            return None;
        }
        match request.uri().path() {
            "/health" => Some(with_type(StatusCode::OK, request_id, TEXT, "ok\n")),
            "/ready" => Some(match self.rooms.readiness.ready() {
                Ok(()) => with_type(StatusCode::OK, request_id, TEXT, "ready\n"),
                Err(reason) => with_type(StatusCode::SERVICE_UNAVAILABLE, request_id, TEXT, format!("{reason}\n")),
            }),
            "/metrics" => Some(with_type(StatusCode::OK, request_id, CONTENT_TYPE, self.metrics.encode())),
            _ => None,
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: &Peer, arrival: &Arrival) -> (Answer, Called) {
        let (parts, body) = request.into_parts();
        let signature = Authorization::read(&signed(&parts));
        let query = parts.uri.query().unwrap_or_default();
        let scope = signature.as_ref().ok().map(|signature| signature.scope.service.as_str());
        let mut envelope = self.routes.envelope(&parts.headers, query, scope);
        let mut called = Called { service: "-", operation: "-", code: "OK" };

        let result = self.receive(signature, &parts, body, &mut envelope, peer, arrival, &mut called).await;
        let answer = match result {
            Ok((operation, output)) => envelope.success(operation, &arrival.request_id, &*output),
            Err(error) => {
                called.code = error.code;
                if error.status >= 500 {
                    tracing::error!(code = error.code, message = error.message, "answered with a fault of ours");
                }
                envelope.error(&arrival.request_id, &error)
            }
        };
        (answer, called)
    }

    #[expect(clippy::too_many_arguments, reason = "the steps share one request's state, which nobody else needs")]
    async fn receive(
        &self,
        signature: Result<Authorization, VerifyError>,
        parts: &Parts,
        body: Incoming,
        envelope: &mut Envelope,
        peer: &Peer,
        arrival: &Arrival,
        called: &mut Called,
    ) -> Result<(&'static longshore_api::Operation, Box<dyn Output>), ServiceError> {
        let limits = &self.config.limits;
        let Ok(_place) = self.in_flight.try_acquire() else {
            return Err(ServiceError {
                query_code: "Throttling",
                ..ServiceError::client(
                    "ThrottlingException",
                    format!("Rate exceeded: {} requests are under way. Try again in a moment.", limits.requests),
                )
            });
        };
        let caller = match self.admit(signature, parts, arrival) {
            Ok(caller) => caller,
            Err(error) => {
                if !body::expects_continue(&parts.headers) {
                    body::discard(body, limits, &*self.seams.clock).await;
                }
                return Err(envelope.refusal(&error));
            }
        };
        let body = body::read(body, &parts.headers, limits, &*self.seams.clock).await?;
        if let Some((authorization, credential)) = &caller {
            authorization
                .verify(&signed(parts), &body, &credential.secret, &self.keys)
                .map_err(|error| envelope.refusal(&error))?;
        }
        let body = body::decode(body, &parts.headers, limits.body_bytes)?;
        let scope = caller.as_ref().map(|(authorization, _)| authorization.scope.service.as_str());
        let (route, input) = self.route(parts, &body, envelope.protocol, scope)?;
        envelope.model = Some(route.model);
        (called.service, called.operation) = (route.model.signing_name, route.operation.name);
        tracing::Span::current().record("service", called.service).record("operation", called.operation);
        if caller.is_none() && !route.operation.unsigned {
            return Err(envelope.refusal(&VerifyError::Missing));
        }
        let context = self.context(caller, parts, peer, arrival);
        let result = match &input {
            Ok(input) => AssertUnwindSafe(self.perform(&route, &context, input)).catch_unwind().await,
            Err(error) => Ok(Err(error.clone())),
        };
        let result = result.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Err(ServiceError::server(
                "InternalFailure",
                format!("The request failed because of an unexpected error. Request id: {}.", arrival.request_id),
            ))
        });
        if !route.operation.read_only {
            self.record(&route, context, &input.unwrap_or_default(), result.as_ref().err());
        }
        Ok((route.operation, result?))
    }

    /// Everything about the signature that can be told before the body is there, so that nobody
    /// unknown gets to fill our memory.
    fn admit(
        &self,
        signature: Result<Authorization, VerifyError>,
        parts: &Parts,
        arrival: &Arrival,
    ) -> Result<Caller, VerifyError> {
        match signature {
            Ok(authorization) => self.known(authorization, arrival.at).map(Some),
            Err(VerifyError::Missing) => {
                let may_be_unsigned = is_form(content_type(&parts.headers))
                    || has_parameter(parts.uri.query().unwrap_or_default(), "Action")
                    || self.routes.by_target(&parts.headers, None).is_ok_and(|route| route.operation.unsigned);
                if may_be_unsigned { Ok(None) } else { Err(VerifyError::Missing) }
            }
            Err(error) => Err(error),
        }
    }

    fn known(&self, authorization: Authorization, now: Timestamp) -> Result<(Authorization, Credential), VerifyError> {
        let credential = self.rooms.credentials.credential(&authorization.access_key_id, authorization.session_token());
        let known = credential.as_ref().map(|credential| Known {
            secret: &credential.secret,
            session_token: credential.session_token.as_deref(),
            expires_at: credential.expires_at,
        });
        authorization.check(known.as_ref(), now)?;
        Ok((authorization, credential.ok_or(VerifyError::UnknownKey)?))
    }

    /// Verifies a request that has no body.
    pub(crate) fn verify_bodiless(&self, parts: &Parts, now: Timestamp) -> Result<Caller, VerifyError> {
        let request = signed(parts);
        let (authorization, credential) = self.known(Authorization::read(&request)?, now)?;
        authorization.verify(&request, b"", &credential.secret, &self.keys)?;
        Ok(Some((authorization, credential)))
    }

    /// The operation, and the parsed input (whose error comes after that of a missing signature).
    fn route(
        &self,
        parts: &Parts,
        body: &Bytes,
        protocol: Protocol,
        scope: Option<&str>,
    ) -> Result<(Route<'_>, Result<Value, ServiceError>), ServiceError> {
        if protocol == Protocol::Query {
            let form = if is_form(content_type(&parts.headers)) {
                body.as_ref()
            } else {
                parts.uri.query().unwrap_or_default().as_bytes()
            };
            let form = Value::from_form(form).map_err(|error| {
                let message = format!("The request's parameters cannot be read: {error}.");
                ServiceError { query_code: "MalformedInput", ..ServiceError::client("SerializationException", message) }
            })?;
            let route = self.routes.by_action(&form, scope)?;
            return Ok((route, Ok(form)));
        }
        let route = self.routes.by_target(&parts.headers, scope)?;
        let input = if body.is_empty() {
            Ok(Value::map())
        } else {
            Value::from_json(body).map_err(|error| {
                ServiceError::client("SerializationException", format!("The request's body is no JSON: {error}."))
            })
        };
        Ok((route, input))
    }

    pub(crate) fn context(&self, caller: Caller, parts: &Parts, peer: &Peer, arrival: &Arrival) -> RequestContext {
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let base_url = match &self.config.advertise_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("{}://{}", peer.scheme, text(header::HOST)),
        };
        let (principal, access_key_id, region) = match caller {
            Some((authorization, credential)) => {
                (credential.principal, authorization.access_key_id, authorization.scope.region)
            }
            None => (Principal::Anonymous, String::new(), self.config.region.clone()),
        };
        RequestContext {
            request_id: arrival.request_id.clone(),
            account: principal.account().unwrap_or_default().to_owned(),
            principal,
            access_key_id,
            region,
            source_ip: peer.ip,
            user_agent: text(header::USER_AGENT).chars().take(USER_AGENT_LIMIT).collect(),
            base_url,
            received_at: arrival.at,
        }
    }

    async fn perform(
        &self,
        route: &Route<'_>,
        context: &RequestContext,
        input: &Value,
    ) -> Result<Box<dyn Output>, ServiceError> {
        let (resources, conditions) = route.service.resources(context, route.operation, input);
        self.rooms.authorizer.authorize(&AuthorizationRequest {
            context,
            action: format!("{}:{}", route.model.action_prefix, route.operation.name),
            resources,
            conditions,
        })?;
        route.service.call(context, route.operation, input).await
    }

    fn record(&self, route: &Route<'_>, context: RequestContext, input: &Value, error: Option<&ServiceError>) {
        self.rooms.audit.record(AuditRecord {
            at: context.received_at,
            request_id: context.request_id,
            principal: context.principal.arn(),
            access_key_id: context.access_key_id,
            account: context.account,
            region: context.region,
            source_ip: context.source_ip.to_string(),
            user_agent: context.user_agent,
            service: route.model.signing_name.to_owned(),
            operation: route.operation.name.to_owned(),
            input: audit::redacted(input, route.operation.sensitive),
            error: error.map(|error| error.code.to_owned()),
        });
    }
}

fn signed(parts: &Parts) -> longshore_sigv4::Request<'_> {
    longshore_sigv4::Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
    }
}
