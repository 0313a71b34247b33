-- Why this class?
--
-- One row a class, the likeliest first: its probability and whether that made it into the prediction set (from which
-- floor on), how many of the answer's neighbours are of it and how near, and how many documents of it the model had
-- learnt from. `accepted_from` is the probability from which an answer needs no person.
--
-- :id  UUID of a prediction
-- psql -v id="'0c7a2b2c-66e9-5d5e-9b0e-3f5a8e0a4b11'" -f why_this_class.sql
SELECT c.key AS class, CAST(c.value AS double precision) AS probability, c.key = ANY (p.prediction_set) AS in_set,
       CAST(m.calibration #>> ARRAY['conformal', 'floors', p.versions ->> 'evidence'] AS double precision) AS set_floor,
       CAST(m.calibration #>> '{review,threshold}' AS double precision) AS accepted_from,
       p.versions ->> 'evidence' AS judged_by,
       coalesce(n.neighbours, 0) AS neighbours, n.nearest,
       coalesce(l.documents, 0) AS learnt_from,
       m.name || ' ' || m.version AS model
FROM predictions p
JOIN model_versions m ON m.id = p.model_version_id
CROSS JOIN LATERAL jsonb_each_text(p.probabilities) AS c
LEFT JOIN LATERAL (
    SELECT count(*) AS neighbours, max(CAST(one ->> 'similarity' AS double precision)) AS nearest
    FROM jsonb_array_elements(p.neighbours) AS one WHERE one ->> 'label' = c.key
) n ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS documents FROM snapshot_members s WHERE s.snapshot_id = m.snapshot_id AND s.label = c.key
) l ON true
WHERE p.id = CAST(:id AS uuid)
ORDER BY probability DESC, class
