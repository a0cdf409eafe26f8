package media

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"

	"bongsu/blob"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Config says what the service works on.
type Config struct {
	Replica   *replica.Replica
	Blobs     *blob.Mirror
	Cache     *blob.Cache   // of thumbnails
	Server    id.ServerName // whose media are here
	MaxUpload int64         // bytes of a file; 0 means 50 MiB
	MaxPixels int           // of a picture that gets a thumbnail; 0 means 16 Mi. Decoding takes up to 12 bytes for each
	Workers   int           // pictures decoded at a time; 0 means 1
}

// Media is the service. It is safe for concurrent use.
type Media struct {
	cfg  Config
	work chan struct{} // one token for each thumbnailer
}

// New makes the service.
func New(cfg Config) *Media {
	if cfg.MaxUpload == 0 {
		cfg.MaxUpload = 50 << 20
	}
	if cfg.MaxPixels == 0 {
		cfg.MaxPixels = 16 << 20
	}
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	return &Media{cfg: cfg, work: make(chan struct{}, cfg.Workers)}
}

// MaxUpload is the most bytes of a file.
func (m *Media) MaxUpload() int64 { return m.cfg.MaxUpload }

// commitWait is how long a record may take: the request itself has no deadline, since files may come slowly.
const commitWait = 10 * time.Second

// URI is the content URI of a media id of this server.
func (m *Media) URI(mediaID string) string { return "mxc://" + string(m.cfg.Server) + "/" + mediaID }

// maxID is the most bytes of a media id that is looked for.
const maxID = 255

// newID is a random media id of 26 letters and digits: 130 bits, which nobody guesses.
func newID() string { return rand.Text() }

// Upload keeps what r yields and returns its new media id. Errors: TooLarge, Unavailable, and those of r.
func (m *Media) Upload(ctx context.Context, user id.UserID, info Info, r io.Reader) (mediaID string, err error) {
	mediaID = newID()
	return mediaID, m.put(ctx, putBody{ID: mediaID, User: user}, info, r)
}

// Reserve makes a media id whose content comes later, until expires in Unix milliseconds.
func (m *Media) Reserve(ctx context.Context, user id.UserID) (mediaID string, expires int64, err error) {
	mediaID = newID()
	out, err := m.submit(ctx, kindReserve, mediaID, user, reserveBody{mediaID, user})
	if err != nil {
		return "", 0, err
	}
	var res reserveResult
	err = json.Unmarshal(out, &res)
	return mediaID, res.Expires, errs.Wrap("media.Reserve", err)
}

// CheckFill says whether Fill would be refused: NotFound, Forbidden. It reads local state.
func (m *Media) CheckFill(user id.UserID, server id.ServerName, mediaID string) error {
	if server != m.cfg.Server || len(mediaID) > maxID {
		return mayFill(record{}, false, user)
	}
	rec, ok := read(m.cfg.Replica.Rows(), mediaID)
	if ok && rec.Hash != "" && rec.User == user {
		return nil // perhaps a repetition, which only the content shows
	}
	return mayFill(rec, ok, user)
}

// Fill gives a reserved media id its content. Errors: those of CheckFill, Conflict with HasContent for an id that has other content,
// TooLarge, Unavailable, and those of r.
func (m *Media) Fill(ctx context.Context, user id.UserID, server id.ServerName, mediaID string, info Info, r io.Reader) error {
	if err := m.CheckFill(user, server, mediaID); err != nil {
		return err
	}
	return m.put(ctx, putBody{ID: mediaID, User: user, Reserved: true}, info, r)
}

// put makes the bytes durable, and then the record.
func (m *Media) put(ctx context.Context, b putBody, info Info, r io.Reader) (err error) {
	b.Type, b.Name = cleanType(info.Type), cleanName(info.Name)
	if b.Hash, b.Size, err = m.cfg.Blobs.Put(ctx, r, m.cfg.MaxUpload); err != nil {
		return errs.Wrap("media.put", err)
	}
	_, err = m.submit(ctx, kindPut, b.ID, b.User, b)
	return err
}

func (m *Media) submit(ctx context.Context, kind, mediaID string, user id.UserID, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commitWait)
	defer cancel()
	out, err := m.cfg.Replica.Submit(ctx, replica.Proposal{Kind: kind, Slot: id.SlotOf(mediaID), Body: replica.Marshal(body), Lane: string(user)})
	return out, errs.Wrap(kind, err)
}

// File is a file that is open for reading.
type File struct {
	Info
	Tag string // names the bytes, for caches
	io.ReadSeekCloser
}

// find is the record of a media id that has content. Errors: NotFound; Unavailable with NotYetUploaded.
func (m *Media) find(server id.ServerName, mediaID string) (record, error) {
	const op = "media.find"
	rec, ok := record{}, false
	if server == m.cfg.Server && len(mediaID) <= maxID {
		rec, ok = read(m.cfg.Replica.Rows(), mediaID)
	}
	switch {
	case !ok:
		return rec, errs.New(op, errs.NotFound, "", "there is no such media")
	case rec.Hash == "":
		return rec, errs.New(op, errs.Unavailable, errs.NotYetUploaded, "the content has not been uploaded yet")
	}
	return rec, nil
}

// Open opens a file, fetching it from another site if need be; the caller closes it. Errors: NotFound; Unavailable, with
// NotYetUploaded for an id without content.
func (m *Media) Open(ctx context.Context, server id.ServerName, mediaID string) (*File, error) {
	rec, err := m.find(server, mediaID)
	if err != nil {
		return nil, err
	}
	f, err := m.open(ctx, rec)
	if err != nil {
		return nil, err
	}
	return &File{Info{rec.Type, rec.Name}, string(rec.Hash), f}, nil
}

// open opens the bytes of a record. That they are missing is a fault of disks, not an answer.
func (m *Media) open(ctx context.Context, rec record) (io.ReadSeekCloser, error) {
	f, err := m.cfg.Blobs.Open(ctx, rec.Hash)
	if errs.Is(err, errs.NotFound) {
		return nil, &errs.Error{Op: "media.open", Kind: errs.Unavailable, Message: "this site does not have the content now", Err: err}
	}
	return f, err
}

// Named yields the blobs that records name, for blob.MirrorConfig: of a state that has caught up with the journal.
func Named(r *replica.Replica) func(context.Context) iter.Seq2[blob.Named, error] {
	return func(ctx context.Context) iter.Seq2[blob.Named, error] {
		return func(yield func(blob.Named, error) bool) {
			if err := named(ctx, r, func(n blob.Named) bool { return yield(n, nil) }); err != nil && !errors.Is(err, errEnough) {
				yield(blob.Named{}, errs.Wrap("media.Named", err))
			}
		}
	}
}

// errEnough ends named when nobody wants more.
var errEnough = errors.New("enough")

func named(ctx context.Context, r *replica.Replica, yield func(blob.Named) bool) (err error) {
	defer kv.Recover(&err)
	generation := r.Generation()
	soon, cancel := context.WithTimeout(ctx, commitWait)
	defer cancel()
	if err := errors.Join(r.CatchUp(soon), r.Serving()); err != nil {
		return err
	}
	view := r.View()
	defer view.Close()
	if r.Generation() != generation { // the view may lack rows that are being made anew
		return errs.New("media.Named", errs.Unavailable, "", "the state is being made anew")
	}
	for slot := range id.Slot(id.Slots) {
		if err := ctx.Err(); err != nil {
			return err
		}
		lo := replica.Row(slot, machineByte, tableMedia)
		for _, v := range view.Scan(lo, kv.End(lo)) {
			rec, err := decode(v)
			if err != nil {
				return err
			}
			if rec.Hash != "" && !yield(blob.Named{Hash: rec.Hash, Created: rec.Created}) {
				return errEnough
			}
		}
	}
	return nil
}
