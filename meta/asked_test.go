package meta

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
)

// Whoever gives up is answered by what is known, and the question goes on for
// others.
func TestACallerWhoGivesUpDoesNotWaitForTheImplementation(t *testing.T) {
	for action, want := range map[string]string{
		"get_status":            `"online":false`,
		"get_supported_actions": `"status":"failed"`,
	} {
		t.Run(action, func(t *testing.T) {
			d, _ := newDispatcher(t)
			synctest.Test(t, func(t *testing.T) {
				answer, answered := make(chan struct{}), make(chan struct{})
				ask := func(string) func(context.Context) ([]byte, error) {
					return func(context.Context) ([]byte, error) {
						defer close(answered)
						<-answer
						return nil, ErrNotSpoken
					}
				}
				pending := d.Start(t.Context(), &Call{Action: action, Ask: ask})
				select {
				case <-pending.Done():
					t.Error("it is answered without the implementation")
				default:
				}
				gone, leave := context.WithCancel(t.Context())
				leave()
				if reply := string(pending.Reply(gone).JSON()); !strings.Contains(reply, want) {
					t.Errorf("got %s, want %s", reply, want)
				}
				close(answer)
				<-answered
			})
		})
	}
}
