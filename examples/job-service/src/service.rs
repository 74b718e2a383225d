//! The calls. Who gets here has the permission of the call; what is left to ask is about the job at hand.

use std::{pin::Pin, sync::Arc};

use signet_client::{Authorizer, Peer, Question, QuestionResource};
use tokio_stream::{Stream, StreamExt, wrappers::BroadcastStream};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    Jobs,
    v1::{
        CancelJobRequest, CompleteJobRequest, DequeueJobRequest, Event, Job, JobState, ListJobsRequest,
        ListJobsResponse, PublishEventRequest, PublishEventResponse, StreamEventsRequest, SubmitJobRequest,
        job_service_server::JobService,
    },
};

pub(crate) struct Service {
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) authorizer: Authorizer,
}

/// Who calls: `signet_client::serve` has put it there.
fn peer<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let peer = request.extensions().get::<Arc<Peer>>();
    peer.map(Arc::clone).ok_or_else(|| Status::unauthenticated("a client certificate is needed"))
}

fn caller<T>(request: &Request<T>) -> Result<String, Status> {
    Ok(peer(request)?.principal.to_string())
}

fn other_state() -> Status {
    Status::failed_precondition("the job is not in a state for this")
}

#[async_trait]
impl JobService for Service {
    type StreamEventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn submit_job(&self, request: Request<SubmitJobRequest>) -> Result<Response<Job>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.jobs.submit(request.into_inner().task, caller)))
    }

    async fn dequeue_job(&self, request: Request<DequeueJobRequest>) -> Result<Response<Job>, Status> {
        let job = self.jobs.dequeue(caller(&request)?);
        job.map(Response::new).ok_or_else(|| Status::not_found("no job waits"))
    }

    async fn complete_job(&self, request: Request<CompleteJobRequest>) -> Result<Response<Job>, Status> {
        let (caller, job_id) = (caller(&request)?, request.into_inner().job_id);
        let mine = self.jobs.get(job_id).filter(|job| job.worker == caller);
        mine.ok_or_else(|| Status::not_found("no such job of yours"))?;
        let job = self.jobs.turn(job_id, &[JobState::Running], JobState::Done);
        job.map(Response::new).ok_or_else(other_state)
    }

    async fn list_jobs(&self, _: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        Ok(Response::new(ListJobsResponse { jobs: self.jobs.all() }))
    }

    async fn cancel_job(&self, request: Request<CancelJobRequest>) -> Result<Response<Job>, Status> {
        let (peer, job_id) = (peer(&request)?, request.into_inner().job_id);
        let job = self.jobs.get(job_id).ok_or_else(|| Status::not_found("no such job"))?;
        let resource = QuestionResource {
            kind: "job".into(),
            id: job_id.to_string(),
            owner: job.submitter,
            ..QuestionResource::default()
        };
        let question = Question::new(peer.certificate.clone(), "jobs:cancel".into()).about(resource);
        self.authorizer.require_now(&question).await?;
        let job = self.jobs.turn(job_id, &[JobState::Waiting, JobState::Running], JobState::Cancelled);
        job.map(Response::new).ok_or_else(other_state)
    }

    async fn publish_event(
        &self,
        request: Request<PublishEventRequest>,
    ) -> Result<Response<PublishEventResponse>, Status> {
        let publisher = caller(&request)?;
        self.jobs.publish(Event { publisher, text: request.into_inner().text });
        Ok(Response::new(PublishEventResponse {}))
    }

    async fn stream_events(
        &self,
        _: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let behind = |_| Status::data_loss("events were missed: follow again");
        let events = BroadcastStream::new(self.jobs.follow()).map(move |event| event.map_err(behind));
        Ok(Response::new(Box::pin(events)))
    }
}
