//! The publication bucket.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    config::Builder,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use signet_app::{Object, ObjectMeta, ObjectStore, Put};
use signet_core::Error;

use crate::said;

/// How long caches may keep an object; a new CA is published long before it signs, a CRL lives for days.
const CACHE: &str = "public, max-age=300";

/// How errors name it.
const BUCKET: &str = "the publication bucket";

/// An S3 bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    /// `path_style`: for emulators, which have no host name a bucket.
    pub(crate) fn new(aws: &SdkConfig, name: &str, path_style: bool) -> Self {
        let config = Builder::from(aws).force_path_style(path_style).build();
        Self { client: Client::from_conf(config), name: name.to_owned() }
    }
}

fn status<E>(error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> u16 {
    error.raw_response().map_or(0, |response| response.status().as_u16())
}

fn unavailable<E: ProvideErrorMetadata + std::error::Error + 'static>(
    call: &str,
    name: &str,
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Error {
    let cause = format!("{call} {name}: {}", said(error));
    Error::Unavailable { what: BUCKET, cause }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn look(&self, name: &str) -> Result<Option<ObjectMeta>, Error> {
        match self.client.head_object().bucket(&self.name).key(name).send().await {
            Ok(found) => {
                let notes: BTreeMap<String, String> = found.metadata.unwrap_or_default().into_iter().collect();
                Ok(Some(ObjectMeta { tag: found.e_tag.unwrap_or_default(), notes }))
            }
            Err(error) if status(&error) == 404 => Ok(None),
            Err(error) => Err(unavailable("HeadObject", name, &error)),
        }
    }

    async fn put(&self, object: Object, replaces: Option<&str>) -> Result<Put, Error> {
        let Object { name, content_type, content, notes } = object;
        let put =
            self.client.put_object().bucket(&self.name).key(&name).content_type(content_type).cache_control(CACHE);
        let put = put.set_metadata(Some(notes.into_iter().collect())).body(ByteStream::from(content));
        let put = match replaces {
            Some(tag) => put.if_match(tag),
            None => put.if_none_match("*"),
        };
        match put.send().await {
            Ok(_) => Ok(Put::Done),
            // PreconditionFailed; ConditionalRequestConflict: another put of the same object was under way.
            Err(error) if matches!(status(&error), 409 | 412) => Ok(Put::Superseded),
            Err(error) => Err(unavailable("PutObject", &name, &error)),
        }
    }
}
