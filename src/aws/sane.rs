//! What an answer must be before the SDK reads it. The SDK trusts two things that it should not: it collects a body
//! of any length in memory, and it takes over the service's clock from any Date, even one that no signature can be
//! made for, after which every call panics.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_runtime::service_clock_skew::DisableClockSkewCorrection;
use aws_sdk_connect::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_connect::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_connect::error::BoxError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::sdk::http_date;

/// More than any answer holds: a status page of 100 files with 50 full tags each is about 2 MiB.
const LONGEST_ANSWER: u64 = 16 << 20;
/// Dates that a service may have, in seconds since 1970: the years 2020 to 2200. The local clock plays no part, since
/// the SDK rightly corrects a wrong one by the service's.
const DATES: std::ops::Range<i64> = 1_577_836_800..7_258_118_400;

/// Bounds every answer.
#[derive(Debug)]
pub(super) struct Sane;

impl Intercept for Sane {
    fn name(&self) -> &'static str {
        "Sane"
    }

    /// Before the SDK's own interceptor takes the Date over, and for this one answer only.
    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().headers().get("date").and_then(http_date).is_some_and(|at| !DATES.contains(&at)) {
            config.interceptor_state().store_put(DisableClockSkewCorrection::from(true));
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response_mut();
        let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
        *answer.body_mut() = SdkBody::from_body_1_x(Bounded { inner: Box::pin(body), left: LONGEST_ANSWER });
        Ok(())
    }
}

/// A body that breaks off when it is too long.
struct Bounded {
    inner: Pin<Box<SdkBody>>,
    left: u64,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.inner.as_mut().poll_frame(cx));
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => Poll::Ready(Some(Err("the answer is too long".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
