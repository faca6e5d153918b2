"""How a stored object is shown: as itself in some version, as metadata only, or as a row of a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whimbrel_lab.controlplane.embedded.errors import Object
from whimbrel_lab.controlplane.embedded.kinds import Kind
from whimbrel_lab.controlplane.embedded.storage import Record, encode, encode_tail
from whimbrel_lab.controlplane.embedded.tables import table_of


def shown_object(kind: Kind, record: Record) -> Object:
    """The object as this kind's version shows it; not to be changed."""
    return kind.from_stored(record.object) if kind.from_stored else record.object


def whole(kind: Kind, record: Record) -> bytes:
    """The object's JSON in this kind's version."""
    if kind.from_stored is None:
        return kind.prefix + record.tail
    return kind.prefix + encode_tail(kind.from_stored(record.object))


def document_bytes(kind: Kind, document: Object) -> bytes:
    """The JSON of an object that is not stored (dry runs)."""
    return kind.prefix + encode_tail(document)


def metadata_only(kind: Kind, record: Record) -> bytes:
    """PartialObjectMetadata of an object."""
    return encode(partial(record.object))


def partial(document: Object) -> Object:
    return {
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": document["metadata"]
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """The shape that a request's Accept header asks for."""

    shape: str
    now: Callable[[], float]
    include_object: str = "Metadata"

    def one(self, kind: Kind, record: Record) -> bytes:
        if self.shape == "Table":
            return self._table(kind, [record], {"resourceVersion": str(record.version)})
        return metadata_only(kind, record) if self.shape == "PartialObjectMetadata" else whole(kind, record)

    def many(self, kind: Kind, records: Sequence[Record], metadata: Object) -> bytes:
        if self.shape == "Table":
            return self._table(kind, records, metadata)
        if self.shape == "PartialObjectMetadata":
            head: Object = {
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata
            }  # fmt: skip
            return _joined(head, b",".join(metadata_only(kind, record) for record in records))
        head = {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": metadata}
        opening = kind.prefix if kind.custom else b"{"
        if kind.from_stored is None:
            tails = [record.tail for record in records]
        else:
            tails = [encode_tail(kind.from_stored(record.object)) for record in records]
        return _joined(head, opening + (b"," + opening).join(tails) if tails else b"")

    def _table(self, kind: Kind, records: Sequence[Record], metadata: Object) -> bytes:
        documents = [shown_object(kind, record) for record in records]
        return encode(table_of(kind, documents, metadata, self.now(), self.include_object))


def _joined(head: Object, items: bytes) -> bytes:
    return encode(head)[:-1] + b',"items":[' + items + b"]}"
