-- What would change if this label is wrong?
--
-- First the label itself; then each model that learnt it, with the number of its answers; then each answer that named
-- the label's document, so labelled, as a neighbour. `dsdc lineage <document>` shows the ids of a document's labels.
--
-- :label  id of a label
-- psql -v label=17 -f if_label_is_wrong.sql
WITH wrong AS (
    SELECT id, document_id, label, source, author, created, superseded_by FROM labels WHERE id = CAST(:label AS bigint)
), learnt AS (
    SELECT v.id, v.name || ' ' || v.version AS model, v.created, s.split, s.label
    FROM wrong w JOIN snapshot_members s ON s.label_id = w.id JOIN model_versions v ON v.snapshot_id = s.snapshot_id
)
SELECT 1 AS step, 'label' AS what, id::text AS id, label, created AS at,
       jsonb_build_object('document_id', document_id, 'source', source, 'author', author,
                          'superseded_by', superseded_by) AS details
FROM wrong
UNION ALL
SELECT 2, 'model', model, label, created,
       jsonb_build_object('split', split, 'predictions',
                          (SELECT count(*) FROM predictions p WHERE p.model_version_id = learnt.id))
FROM learnt
UNION ALL
SELECT 3, 'neighbour', p.id::text, p.label, p.created,
       jsonb_build_object('document_id', p.document_sha256, 'decision', p.decision, 'model', v.name || ' ' || v.version,
                          'similarity', (SELECT one -> 'similarity' FROM jsonb_array_elements(p.neighbours) AS one
                                         WHERE one ->> 'document_id' = w.document_id))
FROM wrong w
-- OFFSET 0: else the planner also reads every prediction since the label from the index of times.
CROSS JOIN LATERAL (
    SELECT * FROM predictions WHERE neighbours @> jsonb_build_array(jsonb_build_object(
        'document_id', w.document_id, 'label', w.label, 'label_source', w.source, 'author', w.author))
    OFFSET 0
) p
JOIN model_versions v ON v.id = p.model_version_id
WHERE p.created >= w.created
ORDER BY step, at, id
