namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents rows that a function generates from random numbers, without end. Row n depends only on the seed of the reader and on n, so any row can
/// be generated again.
/// </summary>
public sealed class GeneratedData : ITrainingData
{
    readonly Action<SeededRandom, TrainingRow> generate;

    /// <summary>Creates a source of generated rows.</summary>
    /// <param name="vocabularySize">The vocabulary size: one more than the maximum id that the function writes.</param>
    /// <param name="description">
    /// A description of the function and all its settings. A checkpoint is continued only with the same description.
    /// </param>
    /// <param name="generate">
    /// Fills the row from the generator, whose numbers are the same for the same seed and row. It must not depend on anything else that changes.
    /// </param>
    /// <exception cref="ArgumentException">The vocabulary size is below 1, or the description is empty.</exception>
    public GeneratedData(int vocabularySize, string description, Action<SeededRandom, TrainingRow> generate)
    {
        Require.InRange(vocabularySize > 0, nameof(vocabularySize), vocabularySize, "at least 1");
        Require.NotBlank(description);
        ArgumentNullException.ThrowIfNull(generate);
        (VocabularySize, Description, this.generate) = (vocabularySize, description, generate);
    }

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public string Description { get; }

    /// <inheritdoc/>
    public TrainingReader OpenReader(TrainingReaderOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        return new Reader(this, options);
    }

    sealed class Reader(GeneratedData data, TrainingReaderOptions options) : TrainingReader(options.ContextLength)
    {
        long index;

        public override DataPosition Position
        {
            get => new(0, index);
            set
            {
                Require.InRange(value.Epoch == 0, nameof(Position), value.Epoch, "epoch 0, because rows are generated without end");
                Require.InRange(value.Index >= 0, nameof(Position), value.Index, "an index of at least 0");
                index = value.Index;
            }
        }

        protected override void FillNext(TrainingRow row)
        {
            data.generate(new SeededRandom(options.Seed, index), row);
            foreach (long id in row.Ids) RequireToken(id, nameof(row.Ids));
            foreach (long target in row.Targets)
                if (target != TrainingRow.NoTarget) RequireToken(target, nameof(row.Targets));
            index++;
        }

        public override void Skip(long rows)
        {
            RequireSkip(rows);
            index = checked(index + rows);
        }

        void RequireToken(long id, string name)
        {
            if (id < 0 || id >= data.VocabularySize)
                throw new InvalidDataException(
                    $"{name} of generated row {index} contains {id}; expected 0 to {data.VocabularySize - 1} ({data.Description})");
        }
    }
}
