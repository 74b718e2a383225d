//! The connection to the control plane that questions are asked over.

use prost::Message;
use signet_proto::v1::{
    BatchCheckRequest, CheckRequest, CheckResponse, authorization_service_client::AuthorizationServiceClient,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

use super::question::Question;
use crate::error::ClientError;

/// Largest request, in bytes: the server takes 64 KiB.
const MOST_BYTES: usize = 60 * 1024;

/// One connection, so that answers and changes come from the same node.
pub(super) struct Connection {
    client: AuthorizationServiceClient<Channel>,
    /// Cancelled once nothing more can be asked.
    pub(super) over: CancellationToken,
}

impl Connection {
    pub(super) fn new(client: AuthorizationServiceClient<Channel>) -> Self {
        Self { client, over: CancellationToken::new() }
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
        let is_over = match &error {
            ClientError::Connect(_) => true,
            ClientError::Rpc(rpc) => rpc.transport,
            _ => false,
        };
        if is_over {
            self.over.cancel();
        }
        error
    }
}
