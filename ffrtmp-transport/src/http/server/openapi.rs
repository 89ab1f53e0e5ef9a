//! The OpenAPI document: what the handlers' annotations do not say because it holds for all of
//! them — the key, the prefix, the errors that any route can answer with.

use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, Info, License, ObjectBuilder, OpenApi, OpenApiBuilder, Ref,
    RefOr, Server, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::http::problem::{MEDIA_TYPE, Problem};

const KEY: &str = "api_key";

/// The document before the routes are in it.
pub(super) fn frame() -> OpenApi {
    let mut info = Info::new("ffrtmp master", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Distributed, energy-aware video transcoding: jobs, nodes, and the protocol of the agents. \
         Every path answers without the prefix /api/v1 as well."
            .into(),
    );
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    let components = ComponentsBuilder::new()
        .security_scheme(KEY, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .schema(Problem::name(), Problem::schema())
        .build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/api/v1")]))
        .components(Some(components))
        .security(Some([SecurityRequirement::new(KEY, Vec::<String>::new())]))
        .build()
}

/// Adds the errors that follow from the shape of a route, and writes the document out.
pub(super) fn complete(mut document: OpenApi) -> String {
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            add_errors(path, operation);
        }
    }
    document.to_json().unwrap_or_default()
}

fn add_errors(path: &str, operation: &mut Operation) {
    let open = operation.security.is_some();
    let mut add = |status: &str, response: Response| {
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    };
    add("400", problem("The request is not well formed, or a value is out of range."));
    add("429", with_header(problem("Too many requests from this address."), "Retry-After", Type::Integer));
    add("500", problem("A defect of the master."));
    add("503", problem("The master is stopping, or its store does not work."));
    if !open {
        add("401", with_header(problem("The API key is missing or wrong."), "WWW-Authenticate", Type::String));
    }
    if path.contains("{id}") || path.ends_with("/claim") || path.ends_with("/next") {
        add("404", problem("There is no job or node of this name."));
    }
    if operation.request_body.is_some() {
        let mut add = |status: &str, response: Response| {
            operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
        };
        add("413", problem("The body is too large."));
        add("415", problem("The body is not declared as JSON."));
    }
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(Problem::name());
    ResponseBuilder::new()
        .description(description)
        .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(schema)).build())
        .build()
}

fn with_header(mut response: Response, name: &str, kind: Type) -> Response {
    let schema = ObjectBuilder::new().schema_type(kind).build();
    response.headers.insert(name.to_owned(), RefOr::T(HeaderBuilder::new().schema(Some(schema)).build()));
    response
}
