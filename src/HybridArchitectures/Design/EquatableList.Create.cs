namespace HybridArchitectures.Design;

/// <summary>Makes <see cref="EquatableList{T}"/> values.</summary>
public static class EquatableList
{
    /// <summary>A list of copies of the given elements; collection expressions call it.</summary>
    public static EquatableList<T> Create<T>(ReadOnlySpan<T> items) => items.IsEmpty ? EquatableList<T>.Empty : new(items.ToArray());

    /// <summary>A list of the given elements.</summary>
    public static EquatableList<T> ToEquatableList<T>(this IEnumerable<T> items) => Create<T>(items.ToArray());
}
