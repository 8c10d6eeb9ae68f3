package integration

import (
	"fmt"
	"strings"
	"testing"
)

// cluster is some nodes, each a Caddy with a home of its own, that have one
// storage.
type cluster struct {
	nodes   []*instance
	redis   *redis // nil if they have one directory
	dir     string // is "" if they do not
	options string // of their handlers
}

// keyPrefix is where the module keeps what is Caddy's in a Redis.
const keyPrefix = "caddy-of-the-tests"

// copying is the options of a handler that keeps copies for other nodes.
func copying(cache ...string) string { return caching(append(cache, "share")...) }

// onRedis starts n nodes that have a Redis, with further global options.
func onRedis(t testing.TB, n int, r *redis, handlerOptions string, globals ...string) *cluster {
	t.Helper()
	binary, err := redisCaddy()
	if err != nil {
		t.Fatal(err)
	}
	storage := fmt.Sprintf("\tstorage redis {\n\t\thost %s\n\t\tport %s\n\t\tkey_prefix %s\n\t}", r.host, r.port, keyPrefix)
	return (&cluster{redis: r, options: handlerOptions}).start(t, n, program(binary), global(strings.Join(append(globals, storage), "\n")))
}

// onDirectory starts n nodes that have one directory.
func onDirectory(t testing.TB, n int, handlerOptions string) *cluster {
	t.Helper()
	dir := t.TempDir()
	return (&cluster{dir: dir, options: handlerOptions}).start(t, n, global("\tstorage file_system "+dir))
}

func (c *cluster) start(t testing.TB, n int, opts ...option) *cluster {
	t.Helper()
	for range n {
		c.nodes = append(c.nodes, startCaddy(t, c.site("as it started"), opts...))
	}
	return c
}

// site is the Caddyfile of a node. Which edition it is makes no difference, but
// to Caddy, which takes no config that it has.
func (c *cluster) site(edition string) string {
	return fmt.Sprintf("http://<SITE> {\n\theader X-Edition %q\n\tonebot_meta {\n%s\n\t}\n}\n", edition, c.options)
}

// onBoth runs a test with nodes that have a Redis, and with nodes that have one
// directory.
func onBoth(t *testing.T, n int, handlerOptions string, test func(t *testing.T, c *cluster)) {
	t.Parallel() // they wait much of the time
	t.Run("with a Redis", func(t *testing.T) {
		t.Parallel()
		test(t, onRedis(t, n, startRedis(t), handlerOptions))
	})
	t.Run("with one directory", func(t *testing.T) {
		t.Parallel()
		test(t, onDirectory(t, n, handlerOptions))
	})
}

// balancer starts a Caddy in front of the nodes and returns a client of it.
func (c *cluster) balancer(t testing.TB) client {
	t.Helper()
	var upstreams []string
	for _, node := range c.nodes {
		upstreams = append(upstreams, node.addr)
	}
	front := startCaddy(t, "http://<SITE> {\n\treverse_proxy "+strings.Join(upstreams, " ")+" {\n\t\tlb_policy round_robin\n\t}\n}")
	return front.client
}

// shared returns the keys of what the nodes have in Redis, of one kind: manifest/
// or part/.
func (c *cluster) shared(t testing.TB, kind string) []string {
	t.Helper()
	return c.redis.keys(t, keyPrefix+"/onebot_meta/onebot/"+kind)
}

// callers returns how many calls of download_file wait at the nodes.
func (c *cluster) callers(t testing.TB) int {
	t.Helper()
	sum := 0
	for _, node := range c.nodes {
		sum += node.callers(t)
	}
	return sum
}
