-- What differs between two predictions of one document?
--
-- One row for each thing that is not the same: the answer, the model and what it was made of, the processors, what it
-- was judged by, the neighbours. No row: they stand on the same and say the same. Two predictions of different
-- documents differ in `document` too.
--
-- :id, :other  UUIDs of the predictions
-- psql -v id="'0c7a2b2c-66e9-5d5e-9b0e-3f5a8e0a4b11'" -v other="'…'" -f what_differs.sql
WITH side AS (
    SELECT p.id, jsonb_build_object(
        'document', p.document_sha256, 'pages', p.pages, 'label', p.label, 'probability', p.probability,
        'probabilities', p.probabilities, 'prediction set', p.prediction_set, 'decision', p.decision,
        'kept', p.document_id IS NOT NULL, 'author', p.author, 'source', p.source,
        'neighbours', jsonb_path_query_array(p.neighbours, '$[*].document_id'),
        'labels of neighbours', jsonb_path_query_array(p.neighbours, '$[*].label'),
        'model', m.name || ' ' || m.version, 'recipe', m.recipe_sha256, 'calibration', m.calibration,
        'snapshot', ds.content_sha256, 'code commit', m.code_commit, 'trained', m.created
    ) || p.versions AS facts
    FROM predictions p
    JOIN model_versions m ON m.id = p.model_version_id
    JOIN dataset_snapshots ds ON ds.id = m.snapshot_id
    WHERE p.id IN (CAST(:id AS uuid), CAST(:other AS uuid))
), facts AS (
    SELECT f.key, max(f.value) FILTER (WHERE side.id = CAST(:id AS uuid)) AS first,
           max(f.value) FILTER (WHERE side.id = CAST(:other AS uuid)) AS second
    FROM side CROSS JOIN LATERAL jsonb_each_text(side.facts) AS f GROUP BY f.key
)
SELECT key AS what, first, second FROM facts WHERE first IS DISTINCT FROM second ORDER BY key
