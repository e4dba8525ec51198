using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of word problems of groups (arXiv 2404.08819): each position reads a group element, and the model predicts the product of all
/// elements so far. A new element is multiplied on the left: as permutations, it is applied after the earlier ones.
/// </summary>
public sealed record StateTracking : SyntheticTask
{
    readonly TrackedGroup group = TrackedGroup.Parity;

    int[,]? products;

    /// <inheritdoc/>
    public override string Name => $"state tracking, {Description}";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => Order;

    /// <summary>Gets the group. The default value is <see cref="TrackedGroup.Parity"/>.</summary>
    public TrackedGroup Group
    {
        get => group;
        init => (group, products) = (Require.Defined(value, nameof(Group)), null);
    }

    /// <summary>Gets or sets the modulus of <see cref="TrackedGroup.ModularAddition"/>. Other groups ignore it. The default value is 5.</summary>
    public int Modulus { get; init; } = 5;

    /// <summary>Gets or sets the number of positions per row. The default value is 64.</summary>
    public override int Length { get; init; } = 64;

    string Description => Group == TrackedGroup.ModularAddition ? $"addition modulo {Modulus}" : Group.ToString();

    int Order => Group switch
    {
        TrackedGroup.Parity => 2,
        TrackedGroup.ModularAddition => Modulus,
        TrackedGroup.S3 => 6,
        _ => 120,
    };

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.Size(Modulus);
        Require.AtLeast(Modulus, 2);
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        int state = 0, order = Order;       // element 0 is the neutral one in every numbering
        for (int i = 0; i < Length; i++)
        {
            int element = random.Next(order);
            state = Multiply(element, state);
            row.Ids[i] = element;
            row.Targets[i] = state;
        }
    }

    /// <summary>Returns the product of two elements, by their numbers: the second is applied first.</summary>
    internal int Multiply(int second, int first)
    {
        if (Group is TrackedGroup.Parity or TrackedGroup.ModularAddition) return (second + first) % Order;
        return (products ??= SymmetricGroup(Group == TrackedGroup.S3 ? 3 : 5))[second, first];
    }

    // permutations in lexicographic order, so that 0 is the identity
    static int[,] SymmetricGroup(int points)
    {
        var elements = Permutations([.. Enumerable.Range(0, points)]).ToArray();
        var numbers = elements.Select((element, number) => (Key: string.Join(' ', element), number))
            .ToDictionary(item => item.Key, item => item.number);
        var table = new int[elements.Length, elements.Length];
        for (int second = 0; second < elements.Length; second++)
            for (int first = 0; first < elements.Length; first++)
                table[second, first] = numbers[string.Join(' ', elements[first].Select(point => elements[second][point]))];
        return table;
    }

    static IEnumerable<int[]> Permutations(int[] points)
    {
        if (points.Length == 0) return [[]];
        return points.SelectMany(first => Permutations([.. points.Where(point => point != first)]).Select(rest => (int[])[first, .. rest]));
    }

    /// <summary>Returns true if another task has the same settings.</summary>
    public bool Equals(StateTracking? other) => other is not null && (Group, Modulus, Length) == (other.Group, other.Modulus, other.Length);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Group, Modulus, Length);
}
