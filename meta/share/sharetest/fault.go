package sharetest

import (
	"errors"
	"time"
)

// ErrFull is what a full storage says.
var ErrFull = errors.New("OOM command not allowed when used memory > 'maxmemory'")

// Hang makes operations hang, whatever their contexts, until Heal is called:
// then they go on.
func (m *Memory) Hang() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hung == nil {
		m.hung = make(chan struct{})
	}
}

// Fail makes operations fail with err.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Fill makes what needs memory fail: Store and Lock.
func (m *Memory) Fill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = true
}

// Intercept has hook called before each operation, with the name of it as in
// [Kind], and the key: it may wait, and what it returns the operation fails
// with. A nil hook ends that.
func (m *Memory) Intercept(hook func(op, key string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// Heal ends Hang, Fail and Fill.
func (m *Memory) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail, m.full = nil, false
	if m.hung != nil {
		close(m.hung)
		m.hung = nil
	}
}

// begin counts an operation and returns why it fails.
func (m *Memory) begin(op, key string) error {
	m.count(op, key, 1, 0)
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	for _, hook := range []func(op, key string) error{m.Before, hook} {
		if hook == nil {
			continue
		}
		if err := hook(op, key); err != nil {
			return err
		}
	}
	if m.Latency > 0 {
		time.Sleep(m.Latency)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.hung != nil {
		hung := m.hung
		m.mu.Unlock()
		<-hung
		m.mu.Lock()
	}
	if m.full && (op == "store" || op == "lock" || op == "poll") {
		return ErrFull
	}
	return m.fail
}
