//! lambda-queue
