-- Which models saw this document?
--
-- One row a model version, the oldest first: the snapshot that it was made of, if the document is in it, and as what it
-- learnt the document (class, label, part of the snapshot); how often it was asked about it, with its last answer. A
-- snapshot without a class: the document was only among those that told the model what documents have in common.
--
-- :id  SHA-256 of a document
-- psql -v id="'9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'" -f models_of_document.sql
WITH learnt AS (
    SELECT v.id, s.snapshot_id, s.label, s.label_id, s.split
    FROM snapshot_members s JOIN model_versions v ON v.snapshot_id = s.snapshot_id
    WHERE s.document_id = :id
    UNION ALL
    SELECT v.id, v.snapshot_id, NULL, NULL, NULL
-- OFFSET 0: else the planner reads the long lists of all snapshots, and not the index of them.
    FROM (SELECT id FROM dataset_snapshots
          WHERE params -> 'archive' @> to_jsonb(CAST(:id AS text)) OFFSET 0) ds
    JOIN model_versions v ON v.snapshot_id = ds.id
    WHERE NOT EXISTS (SELECT FROM snapshot_members s WHERE s.snapshot_id = ds.id AND s.document_id = :id)
), asked AS (
    SELECT p.model_version_id AS id, count(*) AS predictions, min(p.created) AS first_asked, max(p.created) AS last_asked,
           (array_agg(p.label ORDER BY p.created DESC))[1] AS last_answer
    FROM predictions p WHERE p.document_sha256 = :id GROUP BY p.model_version_id
)
SELECT m.name || ' ' || m.version AS model, m.created AS trained,
       learnt.label AS learnt_as, learnt.label_id, learnt.snapshot_id, learnt.split,
       coalesce(asked.predictions, 0) AS predictions, asked.last_answer, asked.first_asked, asked.last_asked
FROM learnt FULL JOIN asked ON asked.id = learnt.id
JOIN model_versions m ON m.id = coalesce(learnt.id, asked.id)
ORDER BY m.id
