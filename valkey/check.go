package valkey

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// refusal tells what never becomes right by itself from an engine that is away.
func refusal(err error, e *Engine) error {
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		return err
	}
	text := reply.Error()
	switch {
	case strings.Contains(text, noCluster), strings.HasPrefix(text, "unknown command"), strings.Contains(text, "This instance"):
		return fmt.Errorf("%w: several hosts must be those of one cluster, or Sentinels with ?sentinel=NAME", ErrAddress)
	case strings.HasPrefix(text, "READONLY") && e != nil && e.Sentinel == "":
		return fmt.Errorf("%w: it is a replica, which may not answer", ErrRefused)
	case e != nil && e.DB != 0 && strings.Contains(text, "SELECT"):
		return fmt.Errorf("%w: a cluster has no databases: %s", ErrAddress, text)
	case strings.HasPrefix(text, "AUTH"):
		return fmt.Errorf("%w: %s", ErrRefused, text)
	}
	switch classifyReply(text).kind {
	case "noauth", "noperm":
		return fmt.Errorf("%w: %s", ErrRefused, text)
	}
	return err
}

// check looks at the engine before it is used.
func (s *Store) check(ctx context.Context, e *Engine) error {
	if _, err := s.probe(); err != nil {
		return refusal(err, e)
	}
	if e.DB != 0 && s.client().Mode() == rueidis.ClientModeCluster {
		return fmt.Errorf("%w: a cluster has no databases", ErrAddress)
	}
	primaries, err := s.primaries(ctx)
	if err != nil {
		return err
	}
	for _, primary := range primaries {
		if err := s.checkNode(ctx, primary); err != nil {
			return err
		}
	}
	if err := s.openID(ctx); err != nil {
		return refusal(err, nil)
	}
	return s.checkPermissions(ctx, primaries)
}

// checkNode checks the version of a primary, and warns of how it is set.
func (s *Store) checkNode(ctx context.Context, node primary) error {
	info, err := node.Do(ctx, node.B().Info().Section("server", "persistence", "replication").Build()).ToString()
	if err != nil {
		s.log.Warn("the engine does not tell its version", "error", err)
	} else if name, err := checkVersion(info); err != nil {
		return err
	} else {
		s.found.Store(&name)
		s.learn(node, info)
	}
	if field(info, "role") == "slave" {
		return fmt.Errorf("%w: it is a replica, which may not answer", ErrRefused)
	}
	settings, err := node.Do(ctx, node.B().ConfigGet().Parameter("maxmemory-policy", "save", "appendonly").Build()).AsStrMap()
	if err != nil {
		s.log.Warn("the engine does not tell how it is set", "error", err)
		return nil
	}
	for _, text := range warnings(settings) {
		s.log.Warn(text)
	}
	return nil
}

// warnings returns what is risky in an engine's settings.
func warnings(settings map[string]string) (texts []string) {
	if policy := settings["maxmemory-policy"]; policy != "" && policy != "noeviction" {
		texts = append(texts, "the engine may evict live sessions: its maxmemory-policy is "+policy+", and should be noeviction")
	}
	if settings["appendonly"] == "no" && settings["save"] == "" {
		texts = append(texts, "the engine keeps nothing on disk: all sessions are forgotten when it ends")
	}
	return texts
}

// Least versions.
var (
	leastRedis  = [2]int{7, 0}
	leastValkey = [2]int{7, 2}
)

var versionNumber = regexp.MustCompile(`^(\d+)\.(\d+)`)

// checkVersion checks what an engine says of itself, and returns its name and version.
func checkVersion(info string) (string, error) {
	name, version, least := "Redis", field(info, "redis_version"), leastRedis
	if v := field(info, "valkey_version"); v != "" {
		name, version, least = "Valkey", v, leastValkey
	}
	found := versionNumber.FindStringSubmatch(version)
	if found == nil {
		return name, nil
	}
	major, _ := strconv.Atoi(found[1])
	minor, _ := strconv.Atoi(found[2])
	if major < least[0] || major == least[0] && minor < least[1] {
		return "", fmt.Errorf("%w: it is %s %s, and has to be Redis %d.%d or Valkey %d.%d at least", ErrRefused,
			name, version, leastRedis[0], leastRedis[1], leastValkey[0], leastValkey[1])
	}
	return name + " " + version, nil
}

// field returns a field of INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
