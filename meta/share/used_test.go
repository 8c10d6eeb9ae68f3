package share

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

func TestUsesAreStoredNowAndThen(t *testing.T) {
	for name, tt := range map[string]struct {
		opts  Options
		every time.Duration // 0 for never
	}{
		"of no limit":       {Options{}, 0},
		"of a limited size": {Options{MaxSize: 1 << 30}, time.Hour},
		"of a long life":    {Options{MaxAge: 7 * 24 * time.Hour}, time.Hour},
		"of a short life":   {Options{MaxAge: 2 * time.Hour}, 12 * time.Minute},
		"of no time":        {Options{MaxAge: time.Second, MaxSize: 1}, time.Minute},
	} {
		inBubble(t, name, func(t *testing.T) {
			m := sharetest.NewMemory()
			n := newNode(t, m, tt.opts)
			n.Maintain()
			const second, hours = time.Second, 6
			for range hours * time.Hour / second {
				n.Used(keyOf(0))
				n.Used("../x")
				time.Sleep(second)
			}
			want := int64(0)
			if tt.every > 0 {
				want = int64(hours * time.Hour / tt.every)
			}
			if got := m.Counts()[sharetest.Kind{Op: "store", Of: "used"}].Ops; got != want {
				t.Errorf("stored %d times in %d hours, want %d", got, hours, want)
			}
		})
	}
}

func TestWhatWasPutOrLoadedIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{MaxSize: 1 << 30})
		n.Maintain()
		n.puts(t, keyOf(0), nil)
		n.Used(keyOf(0))
		other := newNode(t, m, Options{MaxSize: 1 << 30})
		other.Maintain()
		other.wants(t, keyOf(0), nil)
		other.Used(keyOf(0))
		synctest.Wait()
		if n := m.Counts()[sharetest.Kind{Op: "store", Of: "used"}].Ops; n > 0 {
			t.Errorf("stored %d times", n)
		}
		time.Sleep(time.Hour)
		other.Used(keyOf(0))
		synctest.Wait()
		if n := m.Counts()[sharetest.Kind{Op: "store", Of: "used"}].Ops; n != 1 {
			t.Errorf("stored %d times an hour later", n)
		}
		time.Sleep(3 * time.Hour)
		n.usesMu.Lock()
		defer n.usesMu.Unlock()
		if len(n.used) > 0 {
			t.Error("it is remembered for ever")
		}
	})
}

func TestAUseThatCannotBeStoredIsStoredLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{MaxSize: 1 << 30})
		n.Maintain()
		m.Fill()
		n.Used(keyOf(0))
		synctest.Wait()
		m.Heal()
		n.Used(keyOf(0))
		synctest.Wait()
		if _, ok := m.Get(prefix + "/used/" + keyOf(0)); !ok {
			t.Error("it was given up")
		}
	})
}

func TestNoUseWaitsForTheStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{MaxSize: 1 << 30})
		n.Maintain()
		m.Hang()
		began := time.Now()
		for i := range 10 * cap(n.uses) {
			n.Used(keyOf(i % 10)[1:] + keyOf(i/10%10) + keyOf(i/100%10) + keyOf(i/1000%10))
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		m.Heal()
	})
}
