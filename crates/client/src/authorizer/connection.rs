//! The connection to the control plane that questions are asked over.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use prost::Message;
use signet_proto::v1::{
    BatchCheckRequest, CheckRequest, CheckResponse, authorization_service_client::AuthorizationServiceClient,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::ServiceExt;

use super::question::Question;
use crate::error::ClientError;

/// Largest request, in bytes: the server takes 64 KiB.
const MOST_BYTES: usize = 60 * 1024;

/// One connection, so that answers and changes come from the same node.
pub(super) struct Connection {
    channel: Channel,
    client: AuthorizationServiceClient<Channel>,
    /// Cancelled once nothing more can be asked.
    pub(super) over: CancellationToken,
}

impl Connection {
    pub(super) fn new(channel: Channel) -> Self {
        let client = AuthorizationServiceClient::new(channel.clone());
        Self { channel, client, over: CancellationToken::new() }
    }

    /// What the control plane publishes at a path, over the same connection.
    pub(super) async fn get(&self, path: String) -> Result<Bytes, ClientError> {
        let request = Request::get(&path).body(Body::empty()).map_err(|error| Status::internal(error.to_string()))?;
        let answer = self.channel.clone().oneshot(request).await;
        let answer = answer.map_err(|error| self.failed(Status::from_error(Box::new(error))))?;
        if answer.status() != StatusCode::OK {
            let message = format!("the control plane answers {} at {path}: is it another release?", answer.status());
            return Err(Status::unavailable(message).into());
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        Ok(body.map_err(|error| Status::unavailable(format!("{path} breaks off: {error}")))?.to_bytes())
    }

    pub(super) async fn check(&self, question: &Question) -> Result<CheckResponse, ClientError> {
        let answer = self.client.clone().check(question.message()).await;
        Ok(answer.map_err(|status| self.failed(status))?.into_inner())
    }

    /// An answer for each question; `None`: this one cannot be asked.
    pub(super) async fn check_all(&self, questions: &[&Question]) -> Result<Vec<Option<CheckResponse>>, ClientError> {
        let checks: Vec<CheckRequest> = questions.iter().map(|question| question.message()).collect();
        let request = BatchCheckRequest { checks };
        if request.encoded_len() <= MOST_BYTES {
            match self.client.clone().batch_check(request).await {
                Ok(answers) if answers.get_ref().answers.len() == questions.len() => {
                    return Ok(answers.into_inner().answers.into_iter().map(Some).collect());
                }
                Ok(_) => return Err(Status::internal("the answers are not as many as the questions").into()),
                // One that cannot be asked must not keep the others from their answers.
                Err(status) if status.code() == Code::InvalidArgument => {}
                Err(status) => return Err(self.failed(status)),
            }
        }
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            answers.push(match self.check(question).await {
                Ok(answer) => Some(answer),
                Err(error) if self.over.is_cancelled() => return Err(error),
                Err(_) => None,
            });
        }
        Ok(answers)
    }

    fn failed(&self, status: Status) -> ClientError {
        let error = ClientError::from(status);
        if error.ends_connection() {
            self.over.cancel();
        }
        error
    }
}
