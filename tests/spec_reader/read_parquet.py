"""Prints what pyarrow or DuckDB reads from the Parquet files of `kbk export`: a JSON array per record, in the order of partitions and offsets.

    read_parquet.py pyarrow|duckdb|metadata PATTERN [CONDITION]

PATTERN is a glob; CONDITION is SQL, for duckdb. `metadata` prints an object per file instead.
Bytes are in hex, those longer than 4096 as their SHA-256.
"""

import glob
import hashlib
import json
import sys

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

COLUMNS = ["topic", "partition", "offset", "timestamp", "timestamp_raw", "timestamp_type", "key", "value", "headers"]


def shown(value):
    if not isinstance(value, bytes):
        return value
    return value.hex() if len(value) <= 4096 else "sha256:" + hashlib.sha256(value).hexdigest()


def row(record):
    record = dict(record)
    headers = record["headers"]
    record["headers"] = [[shown(header[name]) for name in ("key", "key_bytes", "value")] for header in headers]
    columns = COLUMNS + (["date"] if "date" in record else [])
    date = record.get("date")
    record["date"] = None if date is None else str(date)
    return [shown(record[name]) for name in columns]


# As docs/reference/formats.md says: where no folder names a date, pyarrow cannot infer what it is.
FOLDERS = [("topic", pa.string()), ("partition", pa.int32()), ("date", pa.date32())]


def by_pyarrow(pattern):
    files = sorted(glob.glob(pattern, recursive=True))
    folders = pa.schema([folder for folder in FOLDERS if f"/{folder[0]}=" in pattern])
    partitioning = pyarrow.dataset.partitioning(folders, flavor="hive") if len(folders) else None
    data = pyarrow.dataset.dataset(files, format="parquet", partitioning=partitioning)
    table = data.to_table()
    if "date" in table.column_names:
        table = table.set_column(table.column_names.index("date"), "date", table["date"].cast(pa.string()))
    at = table.column_names.index("timestamp")
    assert table.schema.field(at).type == pa.timestamp("ms", tz="UTC"), table.schema
    table = table.set_column(at, "timestamp", table["timestamp"].cast(pa.int64()))
    return table.to_pylist()


def by_duckdb(pattern, condition):
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    query = f"""select * replace (epoch_ms("timestamp") as "timestamp")
                from read_parquet('{pattern}', hive_partitioning = {"=" in pattern})
                where {condition}"""
    found = connection.execute(query)
    names = [column[0] for column in found.description]
    return [dict(zip(names, values)) for values in found.fetchall()]


def metadata(file):
    parquet = pq.ParquetFile(file)
    about = parquet.metadata
    groups = []
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        columns = {}
        for place in range(group.num_columns):
            column = group.column(place)
            statistics = column.statistics
            columns[column.path_in_schema] = {
                "compression": column.compression,
                "encodings": list(column.encodings),
                "min": str(statistics.min) if statistics.has_min_max else None,
                "max": str(statistics.max) if statistics.has_min_max else None,
                "nulls": statistics.null_count,
            }
        sorted_by = [(about.row_group(number).column(it.column_index).path_in_schema, it.descending) for it in group.sorting_columns]
        groups.append({"rows": group.num_rows, "bytes": group.total_byte_size, "columns": columns, "sorted_by": sorted_by})
    stated = {key.decode(): value.decode() for key, value in (about.metadata or {}).items()}
    return {"file": file, "rows": about.num_rows, "created_by": about.created_by, "stated": stated, "groups": groups}


def main(reader, pattern, condition="true"):
    if reader == "metadata":
        for file in sorted(glob.glob(pattern, recursive=True)):
            print(json.dumps(metadata(file)))
        return
    records = by_pyarrow(pattern) if reader == "pyarrow" else by_duckdb(pattern, condition)
    records.sort(key=lambda record: (record["topic"], record["partition"], record["offset"]))
    for record in records:
        print(json.dumps(row(record)))


main(*sys.argv[1:])
