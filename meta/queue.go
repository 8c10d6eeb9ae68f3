package meta

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Queue runs tasks in the background, a bounded number of them at a time.
type Queue struct {
	tasks  errgroup.Group
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex // orders Go before Close
	closed bool
}

// NewQueue returns a Queue that runs at most limit tasks at a time.
func NewQueue(limit int) *Queue {
	q := new(Queue)
	q.tasks.SetLimit(limit)
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// Go runs task in the background. It returns false, and does nothing, if the
// queue is full or closed. The context that task gets ends with the queue.
func (q *Queue) Go(task func(context.Context)) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.closed && q.tasks.TryGo(func() error {
		task(q.ctx)
		return nil
	})
}

// Close cancels the tasks that run and returns when the last has ended.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cancel()
	_ = q.tasks.Wait() // tasks return no error
}
