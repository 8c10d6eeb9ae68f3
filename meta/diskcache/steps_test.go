package diskcache

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// crashVariable tells a process of this test where to crash: at which step, and
// behind a comma in which directory.
const crashVariable = "ONEBOT_META_CRASH"

var crashContents = map[Key]string{{1}: "one", {2}: "two"}

// inSteps does with a cache, at a time, what consists of steps. It tells report
// what was returned when.
func inSteps(c *Cache, now *clock, report func(Entry, time.Time)) error {
	c.now = now.now
	put := func(key Key) (Entry, error) {
		f, err := c.Create()
		if err != nil {
			return Entry{}, err
		}
		if _, err := f.Write([]byte(crashContents[key])); err != nil {
			return Entry{}, err
		}
		e, err := f.Commit(key, "bin", headOf(crashContents[key]))
		report(e, now.now())
		return e, err
	}
	one, err := put(Key{1})
	if err != nil {
		return err
	}
	c.syncAll(never)
	c.Update(one, headOf("updated"))
	two, err := put(Key{2})
	if err != nil {
		return err
	}
	c.Update(two, headOf("updated"))
	c.syncAll(never)
	now.pass(past)
	if !c.Return(two) {
		return errors.New("it cannot be returned")
	}
	report(two, now.now())
	if it := c.index.byName[one.Name]; !c.evict(it) {
		return errors.New("it cannot be evicted")
	}
	return nil
}

// crashInSteps is what a process does that crashes.
func crashInSteps(variable string) {
	last, dir, _ := strings.Cut(variable, ",")
	steps, err := strconv.Atoi(last)
	if err != nil {
		panic(err)
	}
	c := New(filepath.Dir(dir), filepath.Base(dir), Options{Mode: 0o600})
	c.at = func(string) {
		if steps--; steps < 0 {
			os.Exit(0) // at once, as if it were killed
		}
	}
	err = inSteps(c, &clock{time.Now()}, func(e Entry, at time.Time) {
		fmt.Println(e.Path, e.Size, at.UnixNano())
	})
	panic(fmt.Sprintf("it was to crash before: %v", err))
}

func TestACrashBetweenAnyTwoStepsLeavesNothingWrong(t *testing.T) {
	var steps []string
	c, now := open(t, t.TempDir(), Options{})
	c.at = func(step string) { steps = append(steps, step) }
	if err := inSteps(c, now, func(Entry, time.Time) {}); err != nil {
		t.Fatal(err)
	}
	c.at = func(string) {}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range steps {
		for name, tt := range map[string]struct {
			kernel string
			up     time.Duration
		}{
			"and goes on":                           {up: 24 * past},
			"and the machine is started anew":       {},
			"and another host goes on":              {kernel: "other", up: 24 * past},
			"and another host was started just now": {kernel: "other"},
		} {
			t.Run(fmt.Sprintf("at %d it has %s, %s", i, step, name), func(t *testing.T) {
				dir := t.TempDir()
				process := exec.Command(program)
				process.Env = append(os.Environ(), fmt.Sprintf("%s=%d,%s", crashVariable, i, dir),
					"GORACE=atexit_sleep_ms=0") // which is a second otherwise
				output, err := process.CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, output)
				}
				c, now := open(t, dir, Options{})
				if tt.kernel != "" {
					newHost(t, tt.kernel).runs(c, now)
				}
				c.uptime = func() (time.Duration, bool) { return tt.up, true }
				now.pass(past) // as in the other process
				wantNothingWrong(t, c, now, strings.Fields(string(output)))
			})
		}
	}
	if len(steps) < 16 || !slices.Contains(steps, "marked") {
		t.Errorf("there are only the steps %q", steps)
	}
}

// wantNothingWrong fails the test if something is wrong after a crash, or does
// not become right in time. Of what was returned before it is given the path,
// the size and the time.
func wantNothingWrong(t *testing.T, c *Cache, now *clock, returned []string) {
	t.Helper()
	c.scanOnce()
	c.expire()
	for fields := range slices.Chunk(returned, 3) {
		at, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if content, err := os.ReadFile(fields[0]); now.Sub(time.Unix(0, at)) < Keep && (err != nil || strconv.Itoa(len(content)) != fields[1]) {
			t.Errorf("%s was returned, and has %q, %v", fields[0], content, err)
		}
	}
	check := func(key Key) (found bool) {
		c.Refresh(key)
		e, ok := c.Get(key)
		if !ok || !c.Return(e) {
			return false
		}
		if content, err := os.ReadFile(e.Path); err != nil || string(content) != crashContents[key] {
			t.Errorf("%s has %q, %v", e.Path, content, err)
		}
		if tag := e.Head.Header.Get("Etag"); tag != "updated" && tag != crashContents[key] {
			t.Errorf("its head is %v", e.Head)
		}
		return true
	}
	for key := range crashContents {
		check(key)
		store(t, c, key, crashContents[key])
		if now.pass(time.Second); !check(key) {
			t.Errorf("%s is not found when it is stored again", crashContents[key])
		}
	}
	c.syncAll(never)
	now.pass(markAge + past)
	c.sweepSessions()
	c.scan(false)
	for key := range crashContents {
		if !check(key) {
			t.Errorf("%s is gone", crashContents[key])
		}
	}
	now.pass(past)
	if freed, err := c.Purge(); err != nil || freed.Files < len(crashContents) || c.Usage() != (Usage{}) {
		t.Errorf("in the end it frees %+v, %v", freed, err)
	}
	own := []string{c.session.dir, c.session.lock.Path()}
	temp, err := filepath.Glob(filepath.Join(c.dir, tempDir, "*"))
	if rest := append(left(t, c, filesDir), left(t, c, indexDir)...); err != nil || len(rest) != 0 || !slices.Equal(temp, own) {
		t.Errorf("left over: %v and %v", rest, temp)
	}
}
