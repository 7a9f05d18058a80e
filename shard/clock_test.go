package shard

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/token"
)

// openFake opens a store whose clock jumps.
func openFake(t testing.TB, cfg Config) (*Store, *clock.Fake) {
	f := clock.NewFake()
	cfg.Clock = clock.New(f)
	t.Cleanup(cfg.Clock.Close)
	return open(t, cfg), f
}

// TestSleepEndsSessions suspends the machine: idle lifetimes, absolute deadlines and
// graces go on.
func TestSleepEndsSessions(t *testing.T) {
	tests := []struct {
		name  string
		cfg   Config
		sleep time.Duration
		want  error // for a session that is exchanged after the sleep
	}{
		{"idle, in time", Config{Lifetime: time.Hour}, time.Hour - clock.LookInterval - 1, nil},
		{"idle", Config{Lifetime: time.Hour}, time.Hour - clock.LookInterval, token.ErrInvalid},
		{"absolute, in time", Config{Lifetime: 3 * time.Hour, MaxLifetime: time.Hour}, time.Hour - clock.LookInterval - 1, nil},
		{"absolute", Config{Lifetime: 3 * time.Hour, MaxLifetime: time.Hour}, time.Hour - clock.LookInterval, token.ErrInvalid},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			s, machine := openFake(t, test.cfg)
			tok := mustCreate(t, s, `{}`)
			machine.Suspend(test.sleep)
			time.Sleep(clock.LookInterval)
			synctest.Wait()
			if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); !errors.Is(err, test.want) {
				t.Errorf("%s: Exchange after a sleep of %v = error %v, want %v", test.name, test.sleep, err, test.want)
			}
		})
	}
}

func TestSleepEndsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, machine := openFake(t, Config{Grace: time.Minute, Secret: testSecret})
		spent := mustCreate(t, s, `{}`)
		mustExchange(t, s, spent, nil)
		mustExchange(t, s, spent, nil) // in its grace
		machine.Suspend(time.Minute)
		time.Sleep(clock.LookInterval)
		synctest.Wait()
		if _, err := s.Exchange(t.Context(), spent, token.Patch{}, nil); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("Exchange of a spent token after a minute's sleep = error %v, want %v", err, token.ErrInvalid)
		}
	})
}

// TestTimesAfterACorrection: once the wall clock was corrected, what is told of
// sessions that were created before is right; and none of them lives longer or shorter.
func TestTimesAfterACorrection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, machine := openFake(t, Config{Lifetime: time.Hour})
		tok := mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
		created := time.Now()
		time.Sleep(10 * time.Minute)
		const correction = -30 * 24 * time.Hour
		machine.SetWall(correction)
		time.Sleep(clock.LookInterval)
		synctest.Wait()
		wantCreated, wantExpires := created.Add(correction), created.Add(correction+time.Hour)
		if _, expires, err := s.Validate(t.Context(), tok, nil); !expires.Equal(wantExpires) || err != nil {
			t.Errorf("Validate = %v, error %v, want %v", expires, err, wantExpires)
		}
		for session := range s.Sessions(t.Context()) {
			if !session.Expires.Equal(wantExpires) {
				t.Errorf("Sessions: expires %v, want %v", session.Expires, wantExpires)
			}
		}
		list, _, err := s.SubjectSessions(t.Context(), []byte("ada"), token.Page{Limit: 1})
		if len(list) != 1 || !list[0].Created.Equal(wantCreated) || !list[0].Expires.Equal(wantExpires) {
			t.Errorf("SubjectSessions = %+v, error %v, want created %v, expires %v", list, err, wantCreated, wantExpires)
		}
		time.Sleep(50*time.Minute - clock.LookInterval - 1)
		if _, _, err := s.Validate(t.Context(), tok, nil); err != nil {
			t.Errorf("Validate before the deadline = error %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, _, err := s.Validate(t.Context(), tok, nil); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("Validate at the deadline = error %v, want %v", err, token.ErrInvalid)
		}
	})
}

// TestValidateUntil: the server computes what is left with time.Until.
func TestValidateUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Lifetime: time.Hour})
		tok := mustCreate(t, s, `{}`)
		time.Sleep(time.Minute)
		if _, expires, err := s.Validate(t.Context(), tok, nil); time.Until(expires) != 59*time.Minute || err != nil {
			t.Errorf("Validate: expires in %v, error %v, want 59m", time.Until(expires), err)
		}
	})
	s := open(t, Config{Lifetime: time.Hour})
	tok := mustCreate(t, s, `{}`)
	_, expires, err := s.Validate(t.Context(), tok, nil)
	if left := time.Until(expires); left > time.Hour || left < time.Hour-time.Minute || err != nil {
		t.Errorf("Validate: expires in %v, error %v, want an hour at most", left, err)
	}
}

func TestHolds(t *testing.T) {
	s := open(t, Config{})
	tok := mustCreate(t, s, `{}`)
	if !s.Holds(tok.ID) || s.Holds(token.Generate().ID) {
		t.Errorf("Holds = %v for a session and %v for none", s.Holds(tok.ID), s.Holds(token.Generate().ID))
	}
}
