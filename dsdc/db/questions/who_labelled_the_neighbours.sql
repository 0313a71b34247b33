-- Who labelled the neighbours?
--
-- One row a neighbour that the answer named, the nearest first: the label that it had then, who said so and when, the
-- next statement of that source, the document's label now where another statement than that one stands, and which part
-- of the answering model's snapshot the neighbour was in (none: it came later).
--
-- :id  UUID of a prediction
-- psql -v id="'0c7a2b2c-66e9-5d5e-9b0e-3f5a8e0a4b11'" -f who_labelled_the_neighbours.sql
SELECT near.one ->> 'document_id' AS document_id, near.one ->> 'label' AS label,
       near.one ->> 'label_source' AS label_source, near.one ->> 'author' AS author,
       CAST(near.one ->> 'similarity' AS double precision) AS similarity,
       l.id AS label_id, l.created AS labelled, l.superseded_by,
       CASE WHEN standing.label_id <> l.id THEN standing.label END AS label_now,
       s.split, d.original_name, d.state
FROM predictions p
JOIN model_versions m ON m.id = p.model_version_id
JOIN dataset_snapshots ds ON ds.id = m.snapshot_id
CROSS JOIN LATERAL jsonb_array_elements(p.neighbours) WITH ORDINALITY AS near(one, place)
LEFT JOIN original_documents d ON d.id = near.one ->> 'document_id'
LEFT JOIN LATERAL (
    SELECT id, taxonomy, created, superseded_by FROM labels
    WHERE document_id = near.one ->> 'document_id' AND label = near.one ->> 'label'
      AND source = near.one ->> 'label_source' AND author = near.one ->> 'author' AND created <= p.created
    ORDER BY (taxonomy = ds.taxonomy) DESC, id DESC LIMIT 1
) l ON true
-- LIMIT 1: else the planner sorts the standing labels of all documents first.
LEFT JOIN LATERAL (
    SELECT label_id, label FROM current_labels
    WHERE document_id = near.one ->> 'document_id' AND taxonomy = l.taxonomy LIMIT 1
) standing ON true
LEFT JOIN snapshot_members s ON s.snapshot_id = m.snapshot_id AND s.document_id = near.one ->> 'document_id'
WHERE p.id = CAST(:id AS uuid)
ORDER BY near.place
