-- Which documents used this OCR version?
--
-- Documents with the pages that it read, by their id: at most so many, after one; the next page begins after the last.
-- Parameters make versions too, and a document has a row for each: `params_hash` begins with :params, and '' takes all.
--
-- :name, :version, :params  of the reader, as `dsdc lineage` shows it: page-reader 3 (1a2b3c4d5e6f)
-- :after                    '' or the last document of the page before
-- :limit                    most documents
-- psql -v name="'page-reader'" -v version="'3'" -v params="''" -v after="''" -v limit=100 -f documents_of_reader.sql
WITH readers AS (
    SELECT id, name || ' ' || version AS reader, left(params_hash, 12) AS params, params ->> 'engine' AS engine
    FROM processors
    WHERE stage = 'text' AND name = :name AND version = :version AND params_hash LIKE :params || '%'
), documents AS (
    SELECT DISTINCT r.document_id
    FROM readers CROSS JOIN LATERAL (
        SELECT t.document_id FROM raw_texts t
        WHERE t.processor_id = readers.id AND t.document_id > :after
        GROUP BY t.document_id ORDER BY t.document_id LIMIT CAST(:limit AS bigint)
    ) r
    ORDER BY r.document_id LIMIT CAST(:limit AS bigint)
)
SELECT d.id AS document_id, d.original_name, r.pages, readers.reader, readers.params, readers.engine
FROM documents
JOIN original_documents d ON d.id = documents.document_id
CROSS JOIN readers
CROSS JOIN LATERAL (
    SELECT count(*) AS pages FROM raw_texts t
    WHERE t.processor_id = readers.id AND t.document_id = documents.document_id
) r
WHERE r.pages > 0
ORDER BY d.id, readers.id
