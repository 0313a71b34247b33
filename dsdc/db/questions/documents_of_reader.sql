-- Which documents used this OCR version?
--
-- Documents with the pages that it read, by their id: at most so many, after one; the next page begins after the last.
-- Parameters make versions too, so each row says which: `params_hash` begins with :params, and '' takes all.
--
-- :name, :version, :params  of the reader, as `dsdc lineage` shows it: page-reader 3 (1a2b3c4d5e6f)
-- :after                    '' or the last document of the page before
-- :limit                    most rows
-- psql -v name="'page-reader'" -v version="'3'" -v params="''" -v after="''" -v limit=100 -f documents_of_reader.sql
SELECT r.document_id, d.original_name, r.pages, pr.name || ' ' || pr.version AS reader, left(pr.params_hash, 12) AS params,
       pr.params ->> 'engine' AS engine
FROM processors pr
CROSS JOIN LATERAL (
    SELECT t.document_id, count(*) AS pages FROM raw_texts t
    WHERE t.processor_id = pr.id AND t.document_id > :after
    GROUP BY t.document_id ORDER BY t.document_id LIMIT CAST(:limit AS bigint)
) r
JOIN original_documents d ON d.id = r.document_id
WHERE pr.stage = 'text' AND pr.name = :name AND pr.version = :version AND pr.params_hash LIKE :params || '%'
ORDER BY r.document_id, pr.id
LIMIT CAST(:limit AS bigint)
