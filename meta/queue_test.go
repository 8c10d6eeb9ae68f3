package meta

import (
	"context"
	"testing"
)

func TestClosingAQueueCancelsWhatRunsAndWaitsForIt(t *testing.T) {
	q := NewQueue(2)
	started, ended := make(chan struct{}), false
	if !q.Go(func(ctx context.Context) {
		close(started)
		<-ctx.Done()
		ended = true
	}) {
		t.Fatal("the queue is not full yet")
	}
	<-started
	q.Close()
	if !ended {
		t.Error("Close did not wait for the task")
	}
	if q.Go(func(context.Context) { t.Error("a task ran after Close") }) {
		t.Error("a closed queue took a task")
	}
	q.Close() // twice does no harm
}

func TestAQueueRunsNoMoreThanItsLimit(t *testing.T) {
	q := NewQueue(1)
	defer q.Close()
	release, ended := make(chan struct{}), make(chan struct{})
	if !q.Go(func(context.Context) { <-release; close(ended) }) {
		t.Fatal("the queue is not full yet")
	}
	if q.Go(func(context.Context) {}) {
		t.Error("a full queue took a task")
	}
	close(release)
	<-ended
}
